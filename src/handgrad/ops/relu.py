"""Rectified linear units."""

from typing import NamedTuple

import numpy as np

from handgrad.system.arrays import Array


class ReluSaved(NamedTuple):
    """The output."""

    y: Array


def relu(x: Array) -> tuple[Array, ReluSaved]:
    """max(x, 0), for x of any shape; NaN stays NaN."""
    y = np.maximum(x, 0)
    return y, ReluSaved(y)


def relu_backward(dy: Array, saved: ReluSaved) -> Array:
    """Gradient of relu for x.

    The slope is 1 where x > 0 and 0 where x < 0. At the kink x = 0 any number between the two will do;
    PyTorch takes 0, and so do we. The output shows on which side x was, so the input need not be kept.
    """
    return np.where(saved.y <= 0, 0, dy)
