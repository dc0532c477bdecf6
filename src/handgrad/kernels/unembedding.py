"""Logits against the rows of a table, compiled. Defined by ``ops.unembedding``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, gradient_arrays, row, rows_of
from handgrad.kernels.linear import add_bias, add_rows
from handgrad.kernels.products import CODES, multiply, multiply_at, multiply_bt
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
    _forward(rows, weight, row(bias), CODES[precision], logits)
    return logits.reshape(*x.shape[:-1], len(weight)), Saved(rows, weight, bias, CODES[precision])


def unembedding_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> tuple[Array, Array | None, Array | None]:
    """As ``ops.unembedding_backward``."""
    rows, weight, bias, precision = saved
    dx, d_weight, d_bias = np.empty_like(rows), *gradient_arrays((weight, bias), into)
    _backward(rows_of(dy), rows, weight, precision, dx, d_weight, row(d_bias))
    return dx.reshape(*dy.shape[:-1], dx.shape[1]), d_weight, d_bias


@compiled
def _forward(x, weight, bias, precision, logits):  # type: ignore[no-untyped-def]
    multiply_bt(x, weight, logits, _ZERO, precision)
    add_bias(logits, bias)


@compiled
def _backward(dy, x, weight, precision, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    multiply(dy, weight, dx, _ZERO, precision)
    multiply_at(dy, x, d_weight, _ONE, precision)
    add_rows(dy, d_bias)
