"""Rows of a table, compiled. Defined by ``ops.embedding``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into, rows_of
from handgrad.ops.embedding import check_ids
from handgrad.ops.shapes import as_rows
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled


class Saved(NamedTuple):
    """What the backward needs: the ids (N,), and the table for its shape."""

    ids: Array
    weight: Array


def embedding(weight: Array, *, ids: Array) -> tuple[Array, Saved]:
    """As ``ops.embedding``."""
    ids = np.asarray(ids)
    check_ids(weight, ids)
    weight, flat = np.ascontiguousarray(weight), np.ascontiguousarray(ids, np.int64).reshape(-1)
    y = np.empty((*ids.shape, weight.shape[1]), weight.dtype)
    _forward(weight, flat, as_rows(y))
    return y, Saved(flat, weight)


def embedding_backward(dy: Array, saved: Saved, into: Into = NOTHING) -> Array:
    """As ``ops.embedding_backward``."""
    flat, weight = saved
    d_weight = np.zeros_like(weight) if not into or into[0] is None else into[0]
    _backward(rows_of(dy), flat, d_weight)
    return d_weight


@compiled
def _forward(weight, ids, y):  # type: ignore[no-untyped-def]
    for n in range(ids.size):
        row = ids[n]
        for c in range(weight.shape[1]):
            y[n, c] = weight[row, c]


@compiled
def _backward(dy, ids, d_weight):  # type: ignore[no-untyped-def]
    for n in range(ids.size):
        row = ids[n]
        for c in range(d_weight.shape[1]):
            d_weight[row, c] += dy[n, c]
