"""The logarithm of softmax."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import largest
from handgrad.system.arrays import Array


class LogSoftmaxSaved(NamedTuple):
    """The output, and the axis."""

    y: Array
    axis: int


def log_softmax(x: Array, axis: int = -1) -> tuple[Array, LogSoftmaxSaved]:
    """log of softmax, as x_i - log Σ_j exp(x_j): this never takes the logarithm of a probability rounded to zero."""
    y = x - largest(x, axis)
    y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return y, LogSoftmaxSaved(y, axis)


def log_softmax_backward(dy: Array, saved: LogSoftmaxSaved) -> Array:
    """Gradient of log_softmax for x.

    ∂y_i/∂x_j = δ_ij - exp(y_j), hence dx_j = dy_j - exp(y_j) Σ_i dy_i.
    """
    y, axis = saved
    dx: Array = dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)
    return dx
