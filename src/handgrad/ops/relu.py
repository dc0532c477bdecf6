"""Rectified linear units, leaky ones (Maas, Hannun & Ng 2013), and their square (So et al. 2021)."""

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


class LeakyReluSaved(NamedTuple):
    """The input, and the slope on the left."""

    x: Array
    negative_slope: float


def leaky_relu(x: Array, negative_slope: float = 0.01) -> tuple[Array, LeakyReluSaved]:
    """x if x > 0, else negative_slope · x, for x of any shape; NaN stays NaN."""
    return np.where(x > 0, x, x * negative_slope), LeakyReluSaved(x, negative_slope)


def leaky_relu_backward(dy: Array, saved: LeakyReluSaved) -> Array:
    """The slope is 1 where x > 0, else negative_slope; at the kink x = 0 we take the latter, as PyTorch does."""
    return np.where(saved.x > 0, dy, dy * saved.negative_slope)


class ReluSquaredSaved(NamedTuple):
    """max(x, 0)."""

    positive: Array


def relu_squared(x: Array) -> tuple[Array, ReluSquaredSaved]:
    """max(x, 0)², for x of any shape; NaN stays NaN. From Primer (https://arxiv.org/abs/2109.08668)."""
    positive = np.maximum(x, 0)
    return np.square(positive), ReluSquaredSaved(positive)


def relu_squared_backward(dy: Array, saved: ReluSquaredSaved) -> Array:
    """Gradient of relu_squared for x.

    With r = max(x, 0), the chain rule gives 2 r · r', where r' is 1 for x > 0 and 0 for x < 0. As r is 0 wherever r'
    is, the slope is 2 r everywhere. It is continuous: unlike relu, the square has no kink at 0.
    """
    slope = 2 * saved.positive
    return slope * dy
