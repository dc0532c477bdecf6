"""The affine map, compiled. Defined by ``ops.linear``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.products import CODES, multiply, multiply_at, multiply_bt
from handgrad.ops.linear import check_linear
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ZERO, _ONE = np.float32(0), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the inputs, x as rows (N, I), and the precision's code."""

    x: Array
    weight: Array
    bias: Array | None
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


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, Saved]:
    """As ``ops.linear``."""
    check_linear(x, weight, bias)
    rows, weight = rows_of(x), np.ascontiguousarray(weight)
    y = np.empty((len(rows), weight.shape[1]), x.dtype)
    _forward(rows, weight, row(bias), CODES[precision], y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, CODES[precision])


def linear_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_backward``."""
    rows, weight, bias, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    _backward(rows_of(dy), rows, weight, precision, dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@inlined
def add_bias(y, bias):  # type: ignore[no-untyped-def]
    """Adds bias to each row; an empty array means no bias."""
    if bias.size:
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                y[n, c] += bias[c]


@inlined
def add_rows(dy, d_bias):  # type: ignore[no-untyped-def]
    """Adds each row to the gradient of the bias."""
    if d_bias.size:
        for n in range(dy.shape[0]):
            for c in range(dy.shape[1]):
                d_bias[c] += dy[n, c]


@compiled
def _forward(x, weight, bias, precision, y):  # type: ignore[no-untyped-def]
    multiply(x, weight, y, _ZERO, precision)
    add_bias(y, bias)


@compiled
def _backward(dy, x, weight, precision, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    multiply_bt(dy, weight, dx, _ZERO, precision)
    multiply_at(x, dy, d_weight, _ONE, precision)
    add_rows(dy, d_bias)
