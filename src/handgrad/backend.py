"""Which pair runs an operation: the one seam between the text in ``ops`` and faster twins of it.

Layers name an operation by its forward in ``ops``; the pair that runs is looked up here, by name, when it runs.
Forward and backward always come from the same place, as the driver keeps the backward it was given.
"""

from collections.abc import Callable
from typing import Any

from handgrad import ops

Forward = Callable[..., tuple[Any, tuple[Any, ...]]]
Backward = Callable[..., Any]


def pair_for(operation: Forward) -> tuple[Forward, Backward]:
    """The (forward, backward) that run ``operation``, a forward of ``handgrad.ops``."""
    name = operation.__name__
    return getattr(ops, name), getattr(ops, name + "_backward")
