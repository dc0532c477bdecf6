"""How an array of any leading shape is seen as a matrix of rows."""

import math

from handgrad.arrays import Array


def as_rows(x: Array) -> Array:
    """x (..., C) as (N, C), N the product of the leading sizes; a view where the memory allows one.

    Unlike ``reshape(-1, C)`` this also holds for arrays without elements.
    """
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
