"""The matrix product, with NumPy's rules for vectors and for stacks of matrices."""

from typing import Any

import numpy as np

from handgrad.arrays import Array
from handgrad.ops.shapes import as_rows, kind_of, unbroadcast


def matmul(a: Array, b: Array) -> tuple[Array, tuple[Any, ...]]:
    """a @ b: a (..., I, J), b (..., J, K) give (..., I, K), leading axes broadcast; a vector is a row on the left, a
    column on the right, and its axis is dropped from the result.

    Raises ValueError where the shapes do not fit.
    """
    if 0 in (a.ndim, b.ndim) or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: a {a.shape} and b {b.shape} do not fit: a's last size must be b's last but one")
    if a.ndim > 2 and b.ndim == 2:
        # One large product instead of a stack of small ones.
        return (as_rows(a) @ b).reshape(*a.shape[:-1], b.shape[1]), (a, b)
    return np.matmul(a, b), (a, b)


def matmul_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array | None, Array | None]:
    """Gradients of matmul for a and b.

    y_ik = Σ_j a_ij b_jk gives
        ∂L/∂a_ij = Σ_k dy_ik b_jk      so  da = dy bᵀ
        ∂L/∂b_jk = Σ_i a_ij dy_ik      so  db = aᵀ dy,
    for each matrix of a stack, and summed where one matrix served several.
    """
    a, b = saved
    rows, columns = a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b
    dy = np.expand_dims(dy, -1) if b.ndim == 1 else dy
    dy = np.expand_dims(dy, -2) if a.ndim == 1 else dy
    if rows.ndim > 2 and columns.ndim == 2:
        da = (as_rows(dy) @ columns.T).reshape(a.shape)
        db = (as_rows(rows).T @ as_rows(dy)).reshape(b.shape)
        return unbroadcast(da, kind_of(a)), unbroadcast(db, kind_of(b))
    return (
        _back(dy @ columns.swapaxes(-1, -2), rows, a),
        _back(rows.swapaxes(-1, -2) @ dy, columns, b),
    )


def _back(gradient: Array, matrix: Array, operand: Array) -> Array | None:
    """To the operand's shape, from that of the matrix it was taken for."""
    d = unbroadcast(gradient, kind_of(matrix))
    return None if d is None else d.reshape(operand.shape)
