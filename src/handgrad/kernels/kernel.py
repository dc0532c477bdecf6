"""What a kernel is: a compiled pair, and what it takes."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Kernel(NamedTuple):
    """The compiled twin of a pair of ``ops``."""

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]
    takes: Callable[..., bool]
    """Called with the forward's arguments: whether this kernel takes the call. If not, the NumPy code does."""
    adds_into: bool = False
    """Whether the backward takes ``into`` too: for each input an array to add its gradient to, instead of making a new
    one. The backward returns this array.
    """


def everything(*_: Any, **__: Any) -> bool:
    """The ``takes`` of a kernel that computes all that its operation does."""
    return True
