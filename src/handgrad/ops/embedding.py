"""Rows of a table, picked by integer ids."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_array, as_rows, sums_of_runs
from handgrad.system.arrays import Array


class EmbeddingSaved(NamedTuple):
    """The ids, and the table: the gradient has its shape and dtype."""

    ids: Array
    weight: Array


def embedding(weight: Array, *, ids: Array) -> tuple[Array, EmbeddingSaved]:
    """Row ``ids[...]`` of the table for each id: ``y = weight[ids]``.

    weight (V, C), ids (...) of an integer dtype in [0, V); returns y (..., C).

    Raises ValueError for a table of other than two axes, TypeError for ids that are not integers, IndexError for an id
    outside the table: a negative id, which NumPy would count from the end, is outside too.
    """
    ids = as_array(ids)
    check_ids(weight, ids)
    return weight[ids], EmbeddingSaved(ids, weight)


def embedding_backward(dy: Array, saved: EmbeddingSaved) -> Array:
    """Gradient of embedding for the table.

    y_n = W_{ids n}, so row v of W reaches the loss through every n with ids_n = v, and through no other:
        dW_v = Σ_{n : ids_n = v} dy_n.
    A stable sort of the ids brings equal ids together, so that the sums are always made in the same order.
    """
    ids, weight = saved
    d_weight: Array = np.zeros_like(weight)
    if ids.size == 0:
        return d_weight
    order = np.argsort(ids, axis=None, kind="stable")
    sorted_ids = ids.reshape(-1)[order]
    is_first = np.ones_like(sorted_ids, dtype=bool)
    is_first[1:] = sorted_ids[1:] != sorted_ids[:-1]
    first = np.flatnonzero(is_first)
    d_weight[sorted_ids[first]] = sums_of_runs(as_rows(dy)[order], first)
    return d_weight


def check_ids(weight: Array, ids: Array) -> None:
    """Raises the errors that embedding lists."""
    if weight.ndim != 2:
        raise ValueError(f"embedding: the table must have shape (V, C), not {weight.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, not {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= len(weight)):
        outside = int(ids.min() if ids.min() < 0 else ids.max())
        raise IndexError(f"embedding: id {outside} is outside the table of {len(weight)} rows")
