"""Which arrays share the same memory, and where in it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def owner(array: Array) -> Array:
    """The array that owns the memory of this one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def arrays_in(saved: Any) -> Iterator[Array]:
    """Every array in nested tuples."""
    for value in saved:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays_in(value)


def positions_of(view: Array, base: Array) -> Array:
    """The position of each element of a view in the flattened base."""
    if view.size == 0:
        return np.zeros(view.shape, np.int64)
    low, high = np.lib.array_utils.byte_bounds(base)
    memory = np.empty((high - low) // base.itemsize, np.int64)

    def as_in_memory(array: Array) -> Array:
        """The part of ``memory`` that lies as the array does in its own."""
        start = (array.__array_interface__["data"][0] - low) // base.itemsize
        strides = tuple(stride // base.itemsize * memory.itemsize for stride in array.strides)
        return np.lib.stride_tricks.as_strided(memory[start:], array.shape, strides)

    as_in_memory(base)[...] = np.arange(base.size).reshape(base.shape)
    return as_in_memory(view).copy()
