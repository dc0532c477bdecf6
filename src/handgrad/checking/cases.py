"""What is checked: an operation with inputs to check it on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from handgrad.system.arrays import Array

Options = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class OperationCase:
    """An operation with its differentiable inputs, in order and by name, and its options."""

    name: str
    operation: Callable[..., tuple[Any, tuple[Any, ...]]]
    inputs: dict[str, Array]
    options: Options = field(default=dict)
    """Made anew for each call, so that a generator in them draws the same every time."""
    parts: Callable[[str, Array], Iterator[tuple[str, Array]]] | None = None
    """Cuts an input's gradient into parts that are reported apart."""
