"""The sum of the gradients of a batch's shards, and its squared norm."""

from collections.abc import Sequence

import numpy as np

from handgrad.system.arrays import Array

# Elements taken at a time: a block stays in a core's cache until its squares are summed.
_BLOCK = 16384


def add_gradients(total: Array, others: Sequence[Array]) -> float:
    """Adds ``others``, in order, to ``total`` in place; returns Σ total², summed in float64 so that nothing overflows.

    All arrays are one-dimensional and of equal size.
    """
    squares = 0.0
    for start in range(0, total.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        for other in others:
            total[block] += other[block]
        values = total[block].astype(np.float64, copy=False)
        squares += float(values @ values)
    return squares
