"""gelu(x W + b) in gelu's tanh form, compiled. Defined by ``ops.linear_gelu``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.gelu import slope_of, value_of
from handgrad.kernels.products import CODES, multiply, multiply_at, multiply_bt
from handgrad.ops.gelu import Approximate
from handgrad.ops.linear import check_linear
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the inputs, x as rows (N, I), h = x W + b (N, O), and the precision's code."""

    x: Array
    weight: Array
    bias: Array | None
    h: Array
    precision: int


def takes(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    approximate: Approximate = "tanh",
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> bool:
    """Takes the tanh form, if all gradients are wanted, as the backward computes them all."""
    return approximate == "tanh" and all(wanted)


def linear_gelu(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    approximate: Approximate = "tanh",
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, Saved]:
    """As ``ops.linear_gelu``."""
    check_linear(x, weight, bias)
    rows, weight = rows_of(x), np.ascontiguousarray(weight)
    h, y = np.empty((2, len(rows), weight.shape[1]), x.dtype)
    _forward(rows, weight, row(bias), CODES[precision], h, y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, h, CODES[precision])


def linear_gelu_backward(
    dy: Array, saved: Saved, into: Into = NOTHING
) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_gelu_backward``."""
    rows, weight, bias, h, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    _backward(rows_of(dy), rows, weight, row(bias), h, precision, np.empty_like(h), dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, bias, precision, h, y):  # type: ignore[no-untyped-def]
    multiply(x, weight, h, _ZERO, precision)
    for n in range(h.shape[0]):
        if bias.size:
            for c in range(h.shape[1]):
                value = h[n, c] + bias[c]
                h[n, c] = value
                y[n, c] = value_of(value)
        else:
            for c in range(h.shape[1]):
                y[n, c] = value_of(h[n, c])


@compiled
def _backward(dy, x, weight, bias, h, precision, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    for n in range(h.shape[0]):
        if bias.size:
            for c in range(h.shape[1]):
                slope = dy[n, c] * slope_of(h[n, c])
                dh[n, c] = slope
                d_bias[c] += slope
        else:
            for c in range(h.shape[1]):
                dh[n, c] = dy[n, c] * slope_of(h[n, c])
    multiply_bt(dh, weight, dx, _ZERO, precision)
    multiply_at(x, dh, d_weight, _ONE, precision)
