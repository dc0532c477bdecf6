"""Logits against the rows of a table, compiled. Defined by ``ops.unembedding``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.linear import add_bias, add_rows
from handgrad.kernels.products import (
    code_of,
    multiply,
    multiply_at,
    multiply_bt,
    new_packed,
    pack,
    pack_t,
    rows_at_once,
)
from handgrad.ops.precision import Precision
from handgrad.ops.unembedding import check_unembedding
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the inputs, x as rows (N, C), and the precision's code."""

    x: Array
    weight: Array
    bias: Array | None
    precision: int


def unembedding(
    x: Array, weight: Array, bias: Array | None = None, precision: Precision = "float32"
) -> tuple[Array, Saved]:
    """As ``ops.unembedding``."""
    check_unembedding(x, weight, bias)
    rows, weight = rows_of(x), np.ascontiguousarray(weight)
    logits = np.empty((len(rows), len(weight)), x.dtype)
    code = code_of(precision)
    _forward(rows, weight, new_packed(code, weight.shape[::-1]), row(bias), code, logits)
    return logits.reshape(*x.shape[:-1], len(weight)), Saved(rows, weight, bias, code)


def unembedding_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array, Array | None, Array | None]:
    """As ``ops.unembedding_backward``."""
    rows, weight, bias, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    packed = (new_packed(precision, each.shape) for each in (weight, rows))
    _backward(rows_of(dy), rows, weight, *packed, precision, dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, packed, bias, precision, logits):  # type: ignore[no-untyped-def]
    pack_t(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        multiply_bt(x[start:stop], weight, packed, logits[start:stop], _ZERO, precision)
        add_bias(logits[start:stop], bias)


@compiled
def _backward(dy, x, weight, packed, packed_x, precision, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    pack(weight, packed, precision)
    multiply(dy, weight, packed, dx, _ZERO, precision)
    pack(x, packed_x, precision)
    multiply_at(dy, x, packed_x, d_weight, _ONE, precision)
    add_rows(dy, d_bias)
