"""The affine map, compiled. Defined by ``ops.linear``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
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
    rows_of_strip,
)
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
    code = code_of(precision)
    _forward(rows, weight, new_packed(code, weight.shape), row(bias), code, y)
    return y.reshape(*x.shape[:-1], weight.shape[1]), Saved(rows, weight, bias, code)


def linear_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_backward``."""
    rows, weight, bias, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    packed, packed_dy = packed_for_backward(rows, weight, precision)
    _backward(rows_of(dy), rows, weight, packed, packed_dy, precision, dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


def packed_for_backward(x: Array, weight: Array, precision: int) -> tuple[Array, Array]:
    """Memory for what the backward packs: the transpose of weight (I, O), and the gradient (N, O) for x (N, I)."""
    inputs, outputs = weight.shape
    return new_packed(precision, (outputs, inputs)), new_packed(precision, (len(x), outputs))


def gradient_of_strip(h: Array, precision: int) -> Array:
    """Memory for the gradient of as many rows of h as a backward takes at a time."""
    at_once = min(rows_of_strip(len(h), precision), len(h))
    return np.empty((at_once, h.shape[1]), h.dtype)


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
def _forward(x, weight, packed, bias, precision, y):  # type: ignore[no-untyped-def]
    pack(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        multiply(x[start:stop], weight, packed, y[start:stop], _ZERO, precision)
        add_bias(y[start:stop], bias)


@compiled
def _backward(dy, x, weight, packed, packed_dy, precision, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    pack_t(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        multiply_bt(dy[start:stop], weight, packed, dx[start:stop], _ZERO, precision)
        pack_rows(dy[start:stop], start, x.shape[0], packed_dy, precision)
        add_rows(dy[start:stop], d_bias)
    multiply_at(x, dy, packed_dy, d_weight, _ONE, precision)
