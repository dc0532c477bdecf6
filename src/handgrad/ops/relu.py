"""Rectified linear units."""

from typing import Any

import numpy as np

from handgrad.arrays import Array


def relu(x: Array) -> tuple[Array, tuple[Any, ...]]:
    """max(x, 0), for x of any shape; NaN stays NaN."""
    y = np.maximum(x, 0)
    return y, (y,)


def relu_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of relu for x.

    The slope is 1 where x > 0 and 0 where x < 0. At the kink x = 0 any number between serves; PyTorch takes
    0, and so do we. The output tells the two sides apart, so the input need not be kept.
    """
    (y,) = saved
    return np.where(y <= 0, 0, dy)
