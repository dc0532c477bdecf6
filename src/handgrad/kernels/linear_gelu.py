"""gelu(x W + b) in gelu's tanh form, compiled. Defined by ``ops.linear_gelu``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.gelu import slope_of, value_of
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
    code = code_of(precision)
    _forward(rows, weight, new_packed(code, weight.shape), row(bias), code, h, y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, h, code)


def linear_gelu_backward(
    dy: Array, saved: Saved, into: Into = NOTHING
) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_gelu_backward``."""
    rows, weight, bias, h, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    dh = gradient_of_strip(h, precision)
    packed = packed_for_backward(rows, weight, precision)
    _backward(rows_of(dy), rows, weight, *packed, row(bias), h, precision, dh, dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, packed, bias, precision, h, y):  # type: ignore[no-untyped-def]
    pack(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        multiply(x[start:stop], weight, packed, h[start:stop], _ZERO, precision)
        for n in range(start, stop):
            if bias.size:
                for c in range(h.shape[1]):
                    value = h[n, c] + bias[c]
                    h[n, c] = value
                    y[n, c] = value_of(value)
            else:
                for c in range(h.shape[1]):
                    y[n, c] = value_of(h[n, c])


@compiled
def _backward(dy, x, weight, packed, packed_dh, bias, h, precision, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    pack_t(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        of_strip = dh[: stop - start]
        for n in range(start, stop):
            row = of_strip[n - start]
            if bias.size:
                for c in range(h.shape[1]):
                    slope = dy[n, c] * slope_of(h[n, c])
                    row[c] = slope
                    d_bias[c] += slope
            else:
                for c in range(h.shape[1]):
                    row[c] = dy[n, c] * slope_of(h[n, c])
        multiply_bt(of_strip, weight, packed, dx[start:stop], _ZERO, precision)
        pack_rows(of_strip, start, x.shape[0], packed_dh, precision)
    multiply_at(x, dh, packed_dh, d_weight, _ONE, precision)
