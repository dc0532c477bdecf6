"""The error function, which NumPy lacks: erf(x) = 2/√π ∫₀ˣ exp(-t²) dt.

Rational Chebyshev approximations on three intervals (W. J. Cody, "Rational Chebyshev approximations for the
error function", Mathematics of Computation 23, 1969), accurate to about one unit in the last place of float64.
"""

import numpy as np

from handgrad.system.arrays import Array

# Coefficients from the highest power down: numerator, denominator.
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip


def erf(x: Array) -> Array:
    """erf of each element, of x's shape and dtype; NaN stays NaN."""
    size = np.abs(x)
    small, large = size <= 0.46875, size > 4.0
    result = np.empty_like(x)
    result[small] = x[small] * _rational(_SMALL, np.square(x[small]))
    middle = ~(small | large)
    result[middle] = _from_complement(x[middle], _rational(_MIDDLE, size[middle]))
    far = np.minimum(size[large], 30.0)  # finite for an infinite x; erf rounds to 1 long before 30
    inverse_square = 1 / np.square(far)
    tail = (1 / np.sqrt(np.pi) - inverse_square * _rational(_LARGE, inverse_square)) / far
    result[large] = _from_complement(x[large], tail)
    return result


def _from_complement(x: Array, scaled_complement: Array) -> Array:
    """erf(x) from exp(x²) · erfc(|x|)."""
    with np.errstate(over="ignore", under="ignore"):
        result: Array = np.copysign(1 - np.exp(-np.square(x)) * scaled_complement, x)
    return result


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    numerator, denominator = (np.zeros_like(x), np.zeros_like(x))
    for a in coefficients[0]:
        numerator = numerator * x + a
    for b in coefficients[1]:
        denominator = denominator * x + b
    quotient: Array = numerator / denominator
    return quotient
