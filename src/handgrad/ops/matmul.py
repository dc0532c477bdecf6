"""The matrix product, with NumPy's rules for vectors and for stacks of matrices."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_rows, unbroadcast
from handgrad.system.arrays import Array


class MatmulSaved(NamedTuple):
    """b if a's gradient is wanted, a if b's is; the shapes of both."""

    b: Array | None
    a: Array | None
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]


def matmul(a: Array, b: Array, wanted: tuple[bool, bool] = (True, True)) -> tuple[Array, MatmulSaved]:
    """a @ b: a (..., I, J), b (..., J, K) give (..., I, K), leading axes broadcast; a vector is a row on the left, a
    column on the right, and its axis is dropped from the result.

    Raises ValueError if the shapes do not fit.
    """
    if 0 in (a.ndim, b.ndim) or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: a {a.shape} and b {b.shape} do not fit: a's last size must be b's last but one")
    saved = MatmulSaved(b if wanted[0] else None, a if wanted[1] else None, a.shape, b.shape)
    if a.ndim > 2 and b.ndim == 2:
        # One large product instead of a stack of small ones.
        return (as_rows(a) @ b).reshape(*a.shape[:-1], b.shape[1]), saved
    return a @ b, saved


def matmul_backward(dy: Array, saved: MatmulSaved) -> tuple[Array | None, Array | None]:
    """Gradients of matmul for a and b.

    y_ik = Σ_j a_ij b_jk gives
        ∂L/∂a_ij = Σ_k dy_ik b_jk      so  da = dy bᵀ
        ∂L/∂b_jk = Σ_i a_ij dy_ik      so  db = aᵀ dy,
    for each matrix of a stack; the gradient of a matrix that was broadcast is the sum over its uses.
    """
    b, a, a_shape, b_shape = saved
    # A vector is a row on the left, a column on the right.
    rows_shape = (1, *a_shape) if len(a_shape) == 1 else a_shape
    columns_shape = (*b_shape, 1) if len(b_shape) == 1 else b_shape
    dy = np.expand_dims(dy, -1) if len(b_shape) == 1 else dy
    dy = np.expand_dims(dy, -2) if len(a_shape) == 1 else dy
    one_matrix = len(rows_shape) > 2 and len(columns_shape) == 2
    da = db = None
    if b is not None:
        columns = b.reshape(columns_shape)
        product = as_rows(dy) @ columns.T if one_matrix else dy @ columns.swapaxes(-1, -2)
        da = _summed(product.reshape(rows_shape) if one_matrix else product, rows_shape).reshape(a_shape)
    if a is not None:
        rows = a.reshape(rows_shape)
        product = as_rows(rows).T @ as_rows(dy) if one_matrix else rows.swapaxes(-1, -2) @ dy
        db = _summed(product, columns_shape).reshape(b_shape)
    return da, db


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient, summed over the leading axes that were broadcast."""
    total = unbroadcast(gradient, (shape, gradient.dtype))
    assert total is not None
    return total
