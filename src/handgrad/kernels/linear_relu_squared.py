"""max(x W + b, 0)², compiled. Defined by ``ops.linear_relu_squared``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.relu_squared import positive_part
from handgrad.kernels.sgemm import multiply, multiply_at, multiply_bt
from handgrad.ops.linear import check_linear
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)


class Saved(NamedTuple):
    """What the backward needs: the inputs, x as rows (N, I), and the output (N, O).

    The slope is 2 max(h, 0) = 2 √y. The next layer keeps y anyway, so h need not be kept beside it.
    """

    x: Array
    weight: Array
    bias: Array | None
    y: Array


def takes(x: Array, weight: Array, bias: Array | None = None, wanted: tuple[bool, ...] = (True, True, True)) -> bool:
    """Takes a call if all gradients are wanted, as the backward computes them all."""
    return all(wanted)


def linear_relu_squared(
    x: Array, weight: Array, bias: Array | None = None, wanted: tuple[bool, ...] = (True, True, True)
) -> tuple[Array, Saved]:
    """As ``ops.linear_relu_squared``."""
    check_linear(x, weight, bias)
    rows, weight = rows_of(x), np.ascontiguousarray(weight)
    y = np.empty((len(rows), weight.shape[1]), x.dtype)
    _forward(rows, weight, row(bias), y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, y)


def linear_relu_squared_backward(
    dy: Array, saved: Saved, into: Into = NOTHING
) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_relu_squared_backward``."""
    rows, weight, bias, y = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    _backward(rows_of(dy), rows, weight, y, np.empty_like(y), dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, bias, y):  # type: ignore[no-untyped-def]
    multiply(x, weight, y, _ZERO)
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            positive = positive_part(y[n, c] + bias[c] if bias.size else y[n, c])
            y[n, c] = positive * positive


@compiled
def _backward(dy, x, weight, y, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            dh[n, c] = dy[n, c] * (_TWO * np.sqrt(y[n, c]))
        if d_bias.size:
            for c in range(y.shape[1]):
                d_bias[c] += dh[n, c]
    multiply_bt(dh, weight, dx, _ZERO)
    multiply_at(x, dh, d_weight, _ONE)
