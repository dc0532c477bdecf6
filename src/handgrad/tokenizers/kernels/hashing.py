"""Hashing and comparison for the hash tables of pieces and words."""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled


@compiled
def hash_of(text: Array, start: int, end: int) -> Any:
    """FNV-1a, with a last step that mixes the high bits into the low ones."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
    return value ^ (value >> np.uint64(29))


@compiled
def equal(a: Array, b: Array, length: int) -> bool:
    for i in range(length):  # noqa: SIM110 - a compiled generator would be slower
        if a[i] != b[i]:
            return False
    return True
