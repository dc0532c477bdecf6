"""Softmax: scores into probabilities."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import largest
from handgrad.system.arrays import Array


class SoftmaxSaved(NamedTuple):
    """The output, and the axis."""

    y: Array
    axis: int


def softmax(x: Array, axis: int = -1) -> tuple[Array, SoftmaxSaved]:
    """exp(x_i) / Σ_j exp(x_j) along one axis; x of any shape with at least one.

    The largest x is subtracted first: the quotient does not change and exp cannot overflow.
    """
    y = x - largest(x, axis)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y, SoftmaxSaved(y, axis)


def softmax_backward(dy: Array, saved: SoftmaxSaved) -> Array:
    """Gradient of softmax for x.

    y_i = e_i / s with e_i = exp(x_i), s = Σ e_j gives ∂y_i/∂x_j = y_i (δ_ij - y_j), hence
        dx_j = Σ_i dy_i y_i (δ_ij - y_j) = y_j (dy_j - Σ_i dy_i y_i).
    """
    y, axis = saved
    along_y = (dy * y).sum(axis=axis, keepdims=True)
    dx: Array = dy - along_y
    dx *= y
    return dx
