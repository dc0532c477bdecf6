"""Matrix products inside compiled code.

A kernel that multiplies, adds a bias and applies a nonlinearity is one call that holds no lock, instead of several
that each wait for Python's. float32 is multiplied by NumPy's own BLAS, bfloat16 by our own code.
"""

import numpy as np

from handgrad.kernels.products.bfloat16 import bfloat16_product
from handgrad.kernels.products.blas import PLAIN, ROW_MAJOR, TRANSPOSED, sgemm
from handgrad.ops.precision import Precision
from handgrad.system.compiling import inlined

CODES: dict[Precision, int] = {"float32": 0, "bfloat16": 1}
"""The precisions as compiled code takes them."""
_BFLOAT16 = CODES["bfloat16"]
_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined
def multiply(a, b, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b, for float32 matrices whose rows are contiguous. ``keep`` is 0 or 1."""
    _product(PLAIN, PLAIN, a, b, c, a.shape[1], keep, precision)


@inlined
def multiply_bt(a, b, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a bᵀ."""
    _product(PLAIN, TRANSPOSED, a, b, c, a.shape[1], keep, precision)


@inlined
def multiply_at(a, b, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + aᵀ b."""
    _product(TRANSPOSED, PLAIN, a, b, c, a.shape[0], keep, precision)


@inlined
def _product(trans_a, trans_b, a, b, c, K, keep, precision):  # type: ignore[no-untyped-def]
    M, N = c.shape
    if K == 0:
        for i in range(M):
            for j in range(N):
                c[i, j] = keep * c[i, j] if keep else _ZERO
    elif M and N and precision == _BFLOAT16:
        bfloat16_product(
            trans_a == TRANSPOSED, trans_b == TRANSPOSED, M, N, K, a.ctypes.data, _row_length(a),
            b.ctypes.data, _row_length(b), keep != _ZERO, c.ctypes.data, _row_length(c),
        )  # fmt: skip
    elif M and N:
        sgemm(
            ROW_MAJOR, trans_a, trans_b, M, N, K, _ONE, a.ctypes.data, _row_length(a), b.ctypes.data, _row_length(b),
            keep, c.ctypes.data, _row_length(c),
        )  # fmt: skip


@inlined
def _row_length(x):  # type: ignore[no-untyped-def]
    """Elements from one row to the next. NumPy may give an axis of size 1 any stride, so a single row's is not used."""
    return x.strides[0] // 4 if x.shape[0] > 1 else max(x.shape[1], 1)
