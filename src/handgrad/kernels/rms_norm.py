"""Root mean square normalisation, compiled. Defined by ``ops.rms_norm``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.ops.rms_norm import check_rms_norm
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the input as rows (N, C), 1 / its root mean square (N,), and the weight.

    x̂ is computed again from x: to write it and read it from memory would take longer.
    """

    x: Array
    inverse_rms: Array
    weight: Array | None


def takes(x: Array, weight: Array | None = None, eps: float = 1e-5, axes: int = 1) -> bool:
    """Takes the last axis alone, with and without a weight."""
    return axes == 1


def rms_norm(x: Array, weight: Array | None = None, eps: float = 1e-5, axes: int = 1) -> tuple[Array, Saved]:
    """As ``ops.rms_norm``."""
    check_rms_norm(x, weight, axes)
    rows = rows_of(x)
    y, inverse_rms = np.empty_like(rows), np.empty(len(rows), x.dtype)
    _forward(rows, row(weight), float(eps), y, inverse_rms)
    return y.reshape(x.shape), Saved(rows, inverse_rms, weight)


def rms_norm_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array, Array | None]:
    """As ``ops.rms_norm_backward``."""
    x, inverse_rms, weight = saved
    dx, (d_weight,) = np.empty_like(x), gradient_arrays((weight,), into)
    _backward(rows_of(dy), x, inverse_rms, row(weight), dx, row(d_weight))
    return dx.reshape(dy.shape), d_weight


@compiled
def _forward(x, weight, eps, y, inverse_rms):  # type: ignore[no-untyped-def]
    N, C = x.shape
    for n in range(N):
        squares = _ZERO
        for c in range(C):
            squares += x[n, c] * x[n, c]
        # In float64: in float32, 1 / √ may become an estimate that gives NaN for infinity in place of 0.
        scale = np.float32(1.0 / np.sqrt(np.float64(squares) / C + eps))
        inverse_rms[n] = scale
        if weight.size:
            for c in range(C):
                y[n, c] = x[n, c] * scale * weight[c]
        else:
            for c in range(C):
                y[n, c] = x[n, c] * scale


@compiled
def _backward(dy, x, inverse_rms, weight, dx, d_weight):  # type: ignore[no-untyped-def]
    N, C = dy.shape
    per_element = _ONE / np.float32(C)
    for n in range(N):
        scale, along = inverse_rms[n], _ZERO
        if weight.size:
            for c in range(C):
                x_hat = x[n, c] * scale
                along += dy[n, c] * weight[c] * x_hat
                d_weight[c] += dy[n, c] * x_hat
            along *= per_element
            for c in range(C):
                dx[n, c] = (dy[n, c] * weight[c] - x[n, c] * scale * along) * scale
        else:
            for c in range(C):
                along += dy[n, c] * (x[n, c] * scale)
            along *= per_element
            for c in range(C):
                dx[n, c] = (dy[n, c] - x[n, c] * scale * along) * scale
