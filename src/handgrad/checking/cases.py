"""A case to check: an operation with its inputs."""

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
    """Makes new options for each call, so that a generator in them draws the same numbers every time."""
    parts: Callable[[str, Array], Iterator[tuple[str, Array]]] | None = None
    """Splits an input's gradient into parts that are reported separately."""
