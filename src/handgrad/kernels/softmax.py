"""Softmax over the last axis, compiled. Defined by ``ops.softmax``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import rows_of
from handgrad.kernels.exponential import exp32
from handgrad.ops.shapes import as_rows
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)
_MINUS_INFINITY = np.float32(-np.inf)


class Saved(NamedTuple):
    """What the backward needs: the output."""

    y: Array


def takes(x: Array, axis: int = -1) -> bool:
    """Takes the last axis alone."""
    return x.ndim > 0 and axis in (-1, x.ndim - 1)


def softmax(x: Array, axis: int = -1) -> tuple[Array, Saved]:
    """As ``ops.softmax``."""
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    _forward(as_rows(x), as_rows(y))
    return y, Saved(y)


def softmax_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.softmax_backward``."""
    (y,) = saved
    dx = np.empty_like(y)
    _backward(rows_of(dy), as_rows(y), as_rows(dx))
    return dx


@compiled
def _forward(x, y):  # type: ignore[no-untyped-def]
    for n in range(x.shape[0]):
        largest = _MINUS_INFINITY
        for i in range(x.shape[1]):
            largest = max(largest, x[n, i])
        total = _ZERO
        for i in range(x.shape[1]):
            part = exp32(x[n, i] - largest)
            y[n, i] = part
            total += part
        scale = _ONE / total
        for i in range(x.shape[1]):
            y[n, i] *= scale


@compiled
def _backward(dy, y, dx):  # type: ignore[no-untyped-def]
    for n in range(y.shape[0]):
        along_y = _ZERO
        for i in range(y.shape[1]):
            along_y += dy[n, i] * y[n, i]
        for i in range(y.shape[1]):
            dx[n, i] = y[n, i] * (dy[n, i] - along_y)
