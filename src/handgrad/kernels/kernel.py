"""What a kernel is: a compiled pair, and what it takes."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Kernel(NamedTuple):
    """The compiled twin of a pair of ``ops``."""

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]
    takes: Callable[..., bool]
    """Called with what the forward would be called with: whether this kernel computes it. If not, the text does."""
    adds_into: bool = False
    """Whether the backward has a parameter more, ``into``: for each input an array to add its gradient to, instead of
    making a new one. The array is returned all the same.
    """


def everything(*_: Any, **__: Any) -> bool:
    """The ``takes`` of a kernel that computes all that its operation does."""
    return True
