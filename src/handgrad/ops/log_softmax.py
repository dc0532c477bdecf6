"""The logarithm of softmax."""

from typing import Any

import numpy as np

from handgrad.arrays import Array


def log_softmax(x: Array, axis: int = -1) -> tuple[Array, tuple[Any, ...]]:
    """log of softmax, as x_i - log Σ_j exp(x_j): no logarithm of a number that has rounded to zero."""
    y = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return y, (y, axis)


def log_softmax_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of log_softmax for x.

    ∂y_i/∂x_j = δ_ij - exp(y_j), hence dx_j = dy_j - exp(y_j) Σ_i dy_i.
    """
    y, axis = saved
    dx: Array = dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)
    return dx
