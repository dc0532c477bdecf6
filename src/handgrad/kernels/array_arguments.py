"""What kernels share in taking arrays: as rows or matrices, and for gradients to be added to."""

import math
from typing import TypeAlias

import numpy as np

from handgrad.system.arrays import Array

Into: TypeAlias = tuple[Array | None, ...]
"""For each input the array that its gradient is added to, or None for a new one; where it is shorter, None."""
NOTHING: Into = ()

_NO_ROW = np.empty(0, np.float32)


def rows_of(x: Array) -> Array:
    """x (..., C) as (N, C), contiguous; without a copy where it is."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def matrices_of(x: Array) -> Array:
    """x (..., T, C) as (N, T, C), contiguous; without a copy where it is."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def row(x: Array | None) -> Array:
    """A bias as compiled code takes it: one of no elements where there is none."""
    return _NO_ROW if x is None else np.ascontiguousarray(x)


def gradient_arrays(parameters: tuple[Array | None, ...], into: Into) -> list[Array | None]:
    """Where the gradients of the parameters, which follow the first input, are added: an array of ``into``, or zeros.

    None for a parameter that is not there.
    """
    given = [*into[1:], *[None] * len(parameters)]
    return [
        None if parameter is None else np.zeros_like(parameter) if array is None else array
        for parameter, array in zip(parameters, given, strict=False)
    ]
