"""Gradients without derivatives: how a function changes when one of its inputs moves a little."""

from collections.abc import Callable

import numpy as np

from handgrad.system.arrays import Array

# For the four-point rule in float64: its own error grows as STEP⁴, the rounding error as 1e-16 / STEP.
STEP = 1e-3


def central_differences(function: Callable[[], float], x: Array, step: float = STEP) -> Array:
    """∂function/∂x for each element of x, float64. ``function`` reads x, whose elements are moved and then restored.

    The four-point central difference, exact up to terms in h⁴, where h is ``step``:
        f'(x) ≈ (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h.
    """
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        value, moved = x[index], []
        for distance in (step, -step, 2 * step, -2 * step):
            x[index] = value + distance
            moved.append(function())
        x[index] = value
        gradient[index] = (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * step)
    return gradient


def relative_error(analytic: Array, numeric: Array) -> float:
    """max|a - n| / max(max|a|, max|n|, 1e-3); NaN if one of them holds NaN, infinity if the shapes differ."""
    if analytic.shape != numeric.shape:
        return float("inf")
    if analytic.size == 0:
        return 0.0
    scale = np.maximum(np.maximum(np.abs(analytic).max(), np.abs(numeric).max()), 1e-3)
    return float(np.abs(analytic - numeric).max() / scale)
