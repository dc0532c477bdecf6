"""y = x W + b, the layer that does nearly all of a GPT's arithmetic."""

from typing import Any

from handgrad.arrays import Array
from handgrad.ops.shapes import as_rows


def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, tuple[Any, ...]]:
    """An affine map of the last axis: ``y = x @ weight + bias``.

    x (..., I), weight (I, O), bias (O,) or None; returns y (..., O) and what the backward needs.
    Weights stand as (in, out), as in GPT-2's own checkpoints.

    Raises ValueError where the last size of x is not the first of weight.
    """
    if x.shape[-1:] != weight.shape[:1]:
        raise ValueError(f"linear: x has shape {x.shape}, but its last size must be {weight.shape[0]}, that of weight")
    y = as_rows(x) @ weight
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], weight.shape[1]), (x, weight, bias is not None)


def linear_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array, Array | None]:
    """Gradients of linear for x, weight and bias (None where there is none).

    With the leading axes flattened to n, y_no = Σ_i x_ni W_io + b_o. By the chain rule
        ∂L/∂x_ni = Σ_o dy_no W_io      so  dx = dy Wᵀ
        ∂L/∂W_io = Σ_n x_ni dy_no      so  dW = xᵀ dy
        ∂L/∂b_o  = Σ_n dy_no           so  db = the sum of dy over n.
    """
    x, weight, has_bias = saved
    dy_rows = as_rows(dy)
    dx = (dy_rows @ weight.T).reshape(x.shape)
    d_weight = as_rows(x).T @ dy_rows
    d_bias = dy_rows.sum(axis=0) if has_bias else None
    return dx, d_weight, d_bias
