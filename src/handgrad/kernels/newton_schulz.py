"""The nearest orthogonal matrix in one call that holds no lock, compiled. Defined by ``ops.newton_schulz``."""

import numpy as np

from handgrad.kernels.products import code_of, multiply, multiply_bt_part, new_packed, pack, pack_t
from handgrad.ops.newton_schulz import COEFFICIENTS
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ZERO = np.float32(0)


def newton_schulz(
    matrix: Array,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
    precision: Precision = "float32",
) -> Array:
    """As ``ops.newton_schulz``."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if is_tall else matrix).astype(np.float32, order="C")
    gram, polynomial = np.empty((2, len(x), len(x)), np.float32)
    numbers = (np.float32(coefficient) for coefficient in coefficients)
    code = code_of(precision)
    packed = new_packed(code, x.shape[::-1]), new_packed(code, gram.shape), new_packed(code, x.shape)
    result = _iterate(x, np.empty_like(x), gram, polynomial, packed, steps, eps, code, *numbers)
    return result.T if is_tall else result


@inlined
def _by_own_transpose(x, packed, product, precision):  # type: ignore[no-untyped-def]
    """product ← x xᵀ. It is symmetric, so that one of its four blocks is copied from another."""
    n = x.shape[0]
    half = n // 2
    pack_t(x, packed, precision)
    multiply_bt_part(x[:half], x, packed, 0, product[:half, :half], _ZERO, precision)
    multiply_bt_part(x[half:], x, packed, 0, product[half:], _ZERO, precision)
    for i in range(half):
        for j in range(half, n):
            product[i, j] = product[j, i]


@compiled
def _iterate(x, following, gram, polynomial, packed, steps, eps, precision, a, b, c):  # type: ignore[no-untyped-def]
    packed_xt, packed_gram, packed_x = packed
    squares = 0.0  # in float64, where squares of float32 do not overflow
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            squares += np.float64(x[i, j]) * np.float64(x[i, j])
    factor = np.float32(1 / max(np.sqrt(squares), eps))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] *= factor
    for _ in range(steps):
        _by_own_transpose(x, packed_xt, gram, precision)
        _by_own_transpose(gram, packed_gram, polynomial, precision)  # which is its square, as it is symmetric
        for i in range(x.shape[0]):
            for j in range(x.shape[0]):
                polynomial[i, j] = c * polynomial[i, j] + b * gram[i, j]
            polynomial[i, i] += a
        pack(x, packed_x, precision)
        multiply(polynomial, x, packed_x, following, _ZERO, precision)
        x, following = following, x
    return x
