"""max(x W + b, 0), compiled. Defined by ``ops.linear_relu``."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.linear import gradient_of_strip, packed_for_backward
from handgrad.kernels.products import (
    code_of,
    multiply,
    multiply_at,
    multiply_bt,
    new_packed,
    pack,
    pack_rows,
    pack_t,
    rows_at_once,
)
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
    """A linear map and a nonlinearity; ``loop(rows, weight, packed, bias, precision, y)`` fills the output."""
    check_linear(x, weight, bias)
    rows, weight = rows_of(x), np.ascontiguousarray(weight)
    y = np.empty((len(rows), weight.shape[1]), x.dtype)
    code = code_of(precision)
    loop(rows, weight, new_packed(code, weight.shape), row(bias), code, y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, y, code)


def backward_with(
    loop: Callable[..., None], dy: Array, saved: Saved, into: Into
) -> tuple[Array | None, Array | None, Array | None]:
    """Its gradients. ``loop(dy, rows, weight, packed, packed_dh, y, precision, dh, dx, d_weight, d_bias)`` fills
    them.
    """
    rows, weight, bias, y, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    packed, dh = packed_for_backward(rows, weight, precision), gradient_of_strip(y, precision)
    loop(rows_of(dy), rows, weight, *packed, y, precision, dh, dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, packed, bias, precision, y):  # type: ignore[no-untyped-def]
    pack(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        multiply(x[start:stop], weight, packed, y[start:stop], _ZERO, precision)
        for n in range(start, stop):
            for c in range(y.shape[1]):
                value = y[n, c] + bias[c] if bias.size else y[n, c]
                y[n, c] = _ZERO if value <= _ZERO else value  # NaN is not below 0 and stays


@compiled
def _backward(dy, x, weight, packed, packed_dh, y, precision, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    pack_t(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        of_strip = dh[: stop - start]
        for n in range(start, stop):
            row = of_strip[n - start]
            for c in range(y.shape[1]):
                row[c] = _ZERO if y[n, c] <= _ZERO else dy[n, c]
            if d_bias.size:
                for c in range(y.shape[1]):
                    d_bias[c] += row[c]
        multiply_bt(of_strip, weight, packed, dx[start:stop], _ZERO, precision)
        pack_rows(of_strip, start, x.shape[0], packed_dh, precision)
    multiply_at(x, dh, packed_dh, d_weight, _ONE, precision)
