"""Helpers of the kernels: arrays as rows or matrices, and arrays to add gradients to."""

import math
from typing import TypeAlias

import numpy as np

from handgrad.system.arrays import Array

Into: TypeAlias = tuple[Array | None, ...]
"""For each input the array that its gradient is added to, or None for a new one; a missing entry counts as None."""
NOTHING: Into = ()

_NO_ROW = np.empty(0, np.float32)


def rows_of(x: Array) -> Array:
    """x (..., C) as (N, C), contiguous; a copy only if needed."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def matrices_of(x: Array) -> Array:
    """x (..., T, C) as (N, T, C), contiguous; a copy only if needed."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def row(x: Array | None) -> Array:
    """A bias as compiled code takes it: an empty array for None."""
    return _NO_ROW if x is None else np.ascontiguousarray(x)


def gradient_arrays(parameters: tuple[Array | None, ...], into: Into) -> list[Array | None]:
    """The arrays to add the gradients of the parameters to: those of ``into``, or zeros; None for a missing parameter.

    The parameters are the inputs after the first.
    """
    given = [*into[1:], *[None] * len(parameters)]
    return [
        None if parameter is None else np.zeros_like(parameter) if array is None else array
        for parameter, array in zip(parameters, given, strict=False)
    ]
