"""Gradients without derivatives: what a function does when one of its inputs moves a little."""

from collections.abc import Callable

import numpy as np

from handgrad.system.arrays import Array

# Of the four-point rule in float64: the rule's own error grows as STEP⁴, that of rounding as 1e-16 / STEP.
STEP = 1e-3


def central_differences(function: Callable[[], float], x: Array) -> Array:
    """∂function/∂x for each element of x, float64; ``function`` reads x, which is moved in place and put back.

    The four-point central difference, right up to terms in STEP⁴:
        f'(x) ≈ (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h.
    """
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        value, moved = x[index], []
        for distance in (STEP, -STEP, 2 * STEP, -2 * STEP):
            x[index] = value + distance
            moved.append(function())
        x[index] = value
        gradient[index] = (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * STEP)
    return gradient


def relative_error(analytic: Array, numeric: Array) -> float:
    """max|a - n| / max(max|a|, max|n|, 1e-3); NaN where either holds one, infinite where the shapes differ."""
    if analytic.shape != numeric.shape:
        return float("inf")
    if analytic.size == 0:
        return 0.0
    scale = np.maximum(np.maximum(np.abs(analytic).max(), np.abs(numeric).max()), 1e-3)
    return float(np.abs(analytic - numeric).max() / scale)
