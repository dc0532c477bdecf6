"""What the hash tables of pieces and words are made of."""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled


@compiled
def hash_of(text: Array, start: int, end: int) -> Any:
    """FNV-1a, and a last step that brings its high bits down."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
    return value ^ (value >> np.uint64(29))


@compiled
def equal(a: Array, b: Array, length: int) -> bool:
    for i in range(length):  # noqa: SIM110 - a generator would be slower, compiled
        if a[i] != b[i]:
            return False
    return True
