"""The nearest orthogonal matrix, approximately, by matrix products alone (Keller Jordan 2024, "Muon")."""

import math

import numpy as np

from handgrad.ops.precision import Precision, check_precision, product
from handgrad.system.arrays import Array

# Jordan's: as steep at 0 as can be while the values that have come near 1 stay near it.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def newton_schulz(
    matrix: Array,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
    precision: Precision = "float32",
) -> Array:
    """A matrix with the singular vectors of ``matrix`` (rows, columns), of any two sizes, and singular values near 1.

    If U S Vᵀ is the singular value decomposition of ``matrix``, then U Vᵀ is the orthogonal matrix nearest to it. Each
    step of the iteration

        X₀ = matrix / max(‖matrix‖, eps),    X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X

    keeps U and V, since X Xᵀ = U S² Uᵀ, and sends each singular value s to p(s) = a s + b s³ + c s⁵. Because of the
    norm (the root of the sum of squares) all s are at most 1 at the start. With the usual ``coefficients`` (a, b, c), p
    multiplies small s by almost 3.4. It does not converge to 1: five steps bring all s from 0.0015 on between 0.67 and
    1.21, which serves an optimizer as well and takes fewer steps than a p that converges. Smaller s grow by a factor
    of up to 485. A matrix of zeros stays one.

    The products are taken on the smaller side: of a tall matrix, on the transpose. The result is new, in the dtype of
    ``matrix``; it may be a transposed view. ``precision``: of all products, see ``ops.precision``. There is no
    backward: nobody takes its gradient.

    Raises ValueError for an unknown precision.
    """
    check_precision("newton_schulz", precision)
    a, b, c = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if is_tall else matrix).copy()
    # In float64, where squares of float32 do not overflow.
    norm = math.sqrt(float(np.sum(np.square(x, dtype=np.float64))))
    x *= 1 / max(norm, eps)
    n = x.shape[0]
    following = np.empty_like(x)
    gram = np.empty((n, n), dtype=x.dtype, like=x)
    polynomial = np.empty_like(gram)
    for _ in range(steps):
        _multiply(x, x.T, gram, precision)
        _multiply(gram, gram.T, polynomial, precision)
        polynomial *= c
        gram *= b
        polynomial += gram
        diagonal = polynomial.reshape(-1)[:: n + 1]
        diagonal += a
        _multiply(polynomial, x, following, precision)
        x, following = following, x
    return x.T if is_tall else x


def _multiply(a: Array, b: Array, out: Array, precision: Precision) -> None:
    """out ← a b."""
    if precision == "float32":
        # np.dot computes a matrix times its own transpose in half the operations; the result is symmetric to the bit.
        np.dot(a, b, out=out)
    else:
        out[...] = product(a, b, precision)
