"""Each token with a share of the one before it, compiled. Defined by ``ops.token_shift``."""

import math
from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, matrices_of, row, rows_of
from handgrad.ops.token_shift import check_token_shift
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled


class Saved(NamedTuple):
    """What the backward needs: the texts (N, T, C), the vector before each (N, C), and the weight."""

    x: Array
    before: Array
    weight: Array


def takes(x: Array, weight: Array, before: Array | None = None) -> bool:
    """Takes a vector before the text only if it is a NumPy array of float32, as x is."""
    return before is None or (type(before) is np.ndarray and before.dtype == np.float32)


def token_shift(x: Array, weight: Array, before: Array | None = None) -> tuple[Array, Saved]:
    """As ``ops.token_shift``."""
    check_token_shift(x, weight, before)
    texts = matrices_of(x)
    first = np.zeros((math.prod(x.shape[:-2]), x.shape[-1]), x.dtype) if before is None else rows_of(before)
    y = np.empty_like(texts)
    _forward(texts, first, row(weight), y)
    return y.reshape(x.shape), Saved(texts, first, weight)


def token_shift_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array, Array | None]:
    """As ``ops.token_shift_backward``."""
    x, before, weight = saved
    dx, (d_weight,) = np.empty_like(x), gradient_arrays((weight,), into)
    _backward(matrices_of(dy), x, before, row(weight), dx, row(d_weight))
    return dx.reshape(dy.shape), d_weight


@compiled
def _forward(x, before, weight, y):  # type: ignore[no-untyped-def]
    N, T, C = x.shape
    for n in range(N):
        for t in range(T):
            previous = x[n, t - 1] if t else before[n]
            for c in range(C):
                y[n, t, c] = x[n, t, c] + weight[c] * previous[c]


@compiled
def _backward(dy, x, before, weight, dx, d_weight):  # type: ignore[no-untyped-def]
    N, T, C = x.shape
    for n in range(N):
        for t in range(T):
            previous = x[n, t - 1] if t else before[n]
            for c in range(C):
                d_weight[c] += dy[n, t, c] * previous[c]
            if t + 1 < T:
                for c in range(C):
                    dx[n, t, c] = dy[n, t, c] + weight[c] * dy[n, t + 1, c]
            else:
                for c in range(C):
                    dx[n, t, c] = dy[n, t, c]
