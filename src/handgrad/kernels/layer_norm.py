"""Layer normalisation, compiled. Defined by ``ops.layer_norm``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, rows_of
from handgrad.ops.layer_norm import check_layer_norm
from handgrad.ops.shapes import as_rows
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the normalised input, 1 / its standard deviation (..., 1), and the weight."""

    x_hat: Array
    inverse_std: Array
    weight: Array


def takes(x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5, axes: int = 1) -> bool:
    """Takes the last axis alone, with weight and bias."""
    return weight is not None and bias is not None and axes == 1


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5, axes: int = 1
) -> tuple[Array, Saved]:
    """As ``ops.layer_norm``."""
    check_layer_norm(x, weight, bias, axes)
    assert weight is not None
    assert bias is not None
    x, weight, bias = (np.ascontiguousarray(array) for array in (x, weight, bias))
    y, x_hat = np.empty_like(x), np.empty_like(x)
    inverse_std = np.empty((*x.shape[:-1], 1), x.dtype)
    _forward(as_rows(x), weight, bias, np.float32(eps), as_rows(y), as_rows(x_hat), inverse_std.reshape(-1))
    return y, Saved(x_hat, inverse_std, weight)


def layer_norm_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array, Array | None, Array | None]:
    """As ``ops.layer_norm_backward``."""
    x_hat, inverse_std, weight = saved
    dx, d_weight, d_bias = np.empty_like(x_hat), *gradient_arrays((weight, weight), into)
    rows = rows_of(dy)
    _backward(rows, as_rows(x_hat), inverse_std.reshape(-1), weight, as_rows(dx), d_weight, d_bias)
    return dx, d_weight, d_bias


@compiled
def _forward(x, weight, bias, eps, y, x_hat, inverse_std):  # type: ignore[no-untyped-def]
    N, C = x.shape
    for n in range(N):
        total = _ZERO
        for c in range(C):
            total += x[n, c]
        # In float64: in float32, the rounding error of a large mean would distort a small variance.
        mean = np.float32(np.float64(total) / C)
        squares = _ZERO
        for c in range(C):
            centred = x[n, c] - mean
            squares += centred * centred
        scale = _ONE / np.sqrt(squares / np.float32(C) + eps)
        inverse_std[n] = scale
        for c in range(C):
            normalised = (x[n, c] - mean) * scale
            x_hat[n, c] = normalised
            y[n, c] = normalised * weight[c] + bias[c]


@compiled
def _backward(dy, x_hat, inverse_std, weight, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    N, C = dy.shape
    per_element = _ONE / np.float32(C)
    for n in range(N):
        total, along = _ZERO, _ZERO
        for c in range(C):
            d_x_hat = dy[n, c] * weight[c]
            total += d_x_hat
            along += d_x_hat * x_hat[n, c]
            d_weight[c] += dy[n, c] * x_hat[n, c]
            d_bias[c] += dy[n, c]
        total *= per_element
        along *= per_element
        for c in range(C):
            dx[n, c] = (dy[n, c] * weight[c] - total - x_hat[n, c] * along) * inverse_std[n]
