"""max(x W + b, 0), compiled. Defined by ``ops.linear_relu``."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.products import CODES, multiply, multiply_at, multiply_bt
from handgrad.ops.linear import check_linear
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the inputs, x as rows (N, I), the output (N, O), and the precision's code."""

    x: Array
    weight: Array
    bias: Array | None
    y: Array
    precision: int


def takes(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> bool:
    """Takes a call if all gradients are wanted, as the backward computes them all."""
    return all(wanted)


def linear_relu(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, Saved]:
    """As ``ops.linear_relu``."""
    return forward_with(_forward, x, weight, bias, precision)


def linear_relu_backward(
    dy: Array, saved: Saved, into: Into = NOTHING
) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_relu_backward``."""
    return backward_with(_backward, dy, saved, into)


def forward_with(
    loop: Callable[..., None], x: Array, weight: Array, bias: Array | None, precision: Precision
) -> tuple[Array, Saved]:
    """The output of a linear map with a nonlinearity, which ``loop(rows, weight, bias, precision, y)`` fills."""
    check_linear(x, weight, bias)
    rows, weight = rows_of(x), np.ascontiguousarray(weight)
    y = np.empty((len(rows), weight.shape[1]), x.dtype)
    loop(rows, weight, row(bias), CODES[precision], y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, y, CODES[precision])


def backward_with(
    loop: Callable[..., None], dy: Array, saved: Saved, into: Into
) -> tuple[Array | None, Array | None, Array | None]:
    """Its gradients, which ``loop(dy, rows, weight, y, precision, dh, dx, d_weight, d_bias)`` fills."""
    rows, weight, bias, y, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    loop(rows_of(dy), rows, weight, y, precision, np.empty_like(y), dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, bias, precision, y):  # type: ignore[no-untyped-def]
    multiply(x, weight, y, _ZERO, precision)
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            value = y[n, c] + bias[c] if bias.size else y[n, c]
            y[n, c] = _ZERO if value <= _ZERO else value  # NaN is not below 0 and stays


@compiled
def _backward(dy, x, weight, y, precision, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            dh[n, c] = _ZERO if y[n, c] <= _ZERO else dy[n, c]
        if d_bias.size:
            for c in range(y.shape[1]):
                d_bias[c] += dh[n, c]
    multiply_bt(dh, weight, dx, _ZERO, precision)
    multiply_at(x, dh, d_weight, _ONE, precision)
