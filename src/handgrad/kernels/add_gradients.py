"""Gradients summed in one pass over memory, compiled. Defined by ``ops.add_gradients``."""

from collections.abc import Sequence

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled


def add_gradients(total: Array, others: Sequence[Array]) -> float:
    """As ``ops.add_gradients``."""
    for other in others[:-1]:
        _add(total, other)
    return float(_add(total, others[-1]) if others else _square(total))


@compiled
def _add(total, other):  # type: ignore[no-untyped-def]
    squares = 0.0
    for i in range(total.size):
        value = total[i] + other[i]
        total[i] = value
        squares += np.float64(value) * np.float64(value)
    return squares


@compiled
def _square(total):  # type: ignore[no-untyped-def]
    squares = 0.0
    for i in range(total.size):
        squares += np.float64(total[i]) * np.float64(total[i])
    return squares
