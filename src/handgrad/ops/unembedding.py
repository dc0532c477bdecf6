"""Logits: how well a vector matches each row of the token table (Press & Wolf 2017 share it with the embedding)."""

from typing import NamedTuple

from handgrad.ops.precision import Precision, check_precision, product
from handgrad.ops.shapes import as_rows, check_bias
from handgrad.system.arrays import Array


class UnembeddingSaved(NamedTuple):
    """The two factors, and the precision of their product."""

    x: Array
    weight: Array
    has_bias: bool
    precision: Precision


def unembedding(
    x: Array, weight: Array, bias: Array | None = None, precision: Precision = "float32"
) -> tuple[Array, UnembeddingSaved]:
    """``logits = x @ weightᵀ + bias``: linear with the table of an embedding, a row for each token.

    x (..., C), weight (V, C), bias (V,) or None; returns logits (..., V).
    ``precision``: of the products, see ``ops.precision``.

    Raises ValueError if the last size of x is not that of weight, if bias has another shape, or for an unknown
    precision.
    """
    check_unembedding(x, weight, bias)
    check_precision("unembedding", precision)
    logits = product(as_rows(x), weight.T, precision)
    if bias is not None:
        logits += bias
    return logits.reshape(*x.shape[:-1], weight.shape[0]), UnembeddingSaved(x, weight, bias is not None, precision)


def unembedding_backward(dy: Array, saved: UnembeddingSaved) -> tuple[Array, Array, Array | None]:
    """Gradients of unembedding for x, weight and bias (None if unembedding got no bias).

    y_nv = Σ_c x_nc W_vc + b_v gives
        ∂L/∂x_nc = Σ_v dy_nv W_vc      so  dx = dy W
        ∂L/∂W_vc = Σ_n dy_nv x_nc      so  dW = dyᵀ x
        ∂L/∂b_v  = Σ_n dy_nv           so  db = the sum of dy over n.
    """
    x, weight, has_bias, precision = saved
    dy_rows = as_rows(dy)
    dx = product(dy_rows, weight, precision).reshape(x.shape)
    d_weight = product(dy_rows.T, as_rows(x), precision)
    d_bias = dy_rows.sum(axis=0) if has_bias else None
    return dx, d_weight, d_bias


def check_unembedding(x: Array, weight: Array, bias: Array | None) -> None:
    """Raises the errors that unembedding lists."""
    if x.shape[-1:] != weight.shape[1:]:
        raise ValueError(f"unembedding: x has shape {x.shape}, but its last size must be {weight.shape[1]}")
    check_bias("unembedding", bias, weight.shape[0])
