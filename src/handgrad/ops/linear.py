"""y = x W + b, the layer that does nearly all of a GPT's arithmetic."""

from typing import NamedTuple

from handgrad.ops.precision import Precision, check_precision, product
from handgrad.ops.shapes import as_rows, check_bias
from handgrad.system.arrays import Array


class LinearSaved(NamedTuple):
    """x if weight's gradient is wanted, weight if x's is; x's shape."""

    x: Array | None
    weight: Array | None
    shape: tuple[int, ...]
    has_bias: bool
    precision: Precision


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, LinearSaved]:
    """An affine map of the last axis: ``y = x @ weight + bias``.

    x (..., I), weight (I, O), bias (O,) or None; returns y (..., O) and what the backward needs.
    Weights are (in, out), as in GPT-2's own checkpoints. ``precision``: of the products, see ``ops.precision``.

    Raises ValueError if the last size of x is not the first of weight, if bias has another shape, or for an unknown
    precision.
    """
    check_linear(x, weight, bias)
    check_precision("linear", precision)
    y = product(as_rows(x), weight, precision)
    if bias is not None:
        y += bias
    saved = LinearSaved(x if wanted[1] else None, weight if wanted[0] else None, x.shape, bias is not None, precision)
    return y.reshape(*x.shape[:-1], weight.shape[1]), saved


def linear_backward(dy: Array, saved: LinearSaved) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of linear for x, weight and bias; None without a bias, or for a gradient that is not wanted.

    With the leading axes flattened to n, y_no = Σ_i x_ni W_io + b_o. By the chain rule
        ∂L/∂x_ni = Σ_o dy_no W_io      so  dx = dy Wᵀ
        ∂L/∂W_io = Σ_n x_ni dy_no      so  dW = xᵀ dy
        ∂L/∂b_o  = Σ_n dy_no           so  db = the sum of dy over n.
    """
    x, weight, shape, has_bias, precision = saved
    dy_rows = as_rows(dy)
    dx = None if weight is None else product(dy_rows, weight.T, precision).reshape(shape)
    d_weight = None if x is None else product(as_rows(x).T, dy_rows, precision)
    d_bias = dy_rows.sum(axis=0) if has_bias else None
    return dx, d_weight, d_bias


def check_linear(x: Array, weight: Array, bias: Array | None) -> None:
    """Raises the errors that linear lists."""
    if x.shape[-1:] != weight.shape[:1]:
        raise ValueError(f"linear: x has shape {x.shape}, but its last size must be {weight.shape[0]}, that of weight")
    check_bias("linear", bias, weight.shape[1])
