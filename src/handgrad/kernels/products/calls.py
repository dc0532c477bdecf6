"""Matrix products inside compiled code.

A kernel that multiplies, adds a bias and applies a nonlinearity is one call that holds no lock, instead of several
that each wait for Python's. float32 is multiplied by NumPy's own BLAS, bfloat16 by our own code.

In bfloat16 the second matrix of a product is packed first, into memory from ``new_packed``, and then used as often as
one likes. In float32 that memory is empty, and packing does nothing. So the kernels are written once for both.
"""

import numpy as np

from handgrad.kernels.products import bfloat16
from handgrad.kernels.products.blas import PLAIN, ROW_MAJOR, TRANSPOSED, sgemm
from handgrad.kernels.products.blocks import COLUMNS, STRIP
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import inlined

_FLOAT32 = 0
CODES: dict[Precision, int] = {"float32": _FLOAT32, "bfloat16": bfloat16.CREW}
"""The precisions as compiled code takes them: bfloat16 is the address of the crew that helps with its products."""
_ZERO, _ONE = np.float32(0), np.float32(1)
_pack, _multiply = bfloat16.pack, bfloat16.multiply

__all__ = ["CODES", "COLUMNS"]


def new_packed(shape: tuple[int, ...], precision: int) -> Array:
    """Memory for a packed matrix of a shape (terms, columns)."""
    return np.empty(bfloat16.size_of_packed(*shape) if precision != _FLOAT32 else 0, np.uint32)


def rows_of_strip(rows: int, precision: int) -> int:
    """How many rows of the first matrix a kernel should take at a time, so that what it computes of them stays in the
    core's cache. BLAS, which packs both matrices itself, takes all.
    """
    return STRIP if precision != _FLOAT32 else max(rows, 1)


rows_at_once = inlined(rows_of_strip)
"""The same for compiled code."""


@inlined
def pack(b, packed, precision):  # type: ignore[no-untyped-def]
    """Packs b (K, N), a float32 matrix whose rows are contiguous."""
    if precision != _FLOAT32:
        _pack(precision, 0, b.ctypes.data, _row_length(b), b.shape[0], b.shape[1], packed.ctypes.data, 0, b.shape[0])


@inlined
def pack_t(b, packed, precision):  # type: ignore[no-untyped-def]
    """Packs the transpose of b (N, K)."""
    if precision != _FLOAT32:
        _pack(precision, 1, b.ctypes.data, _row_length(b), b.shape[1], b.shape[0], packed.ctypes.data, 0, b.shape[1])


@inlined
def pack_rows(b, first, rows, packed, precision):  # type: ignore[no-untyped-def]
    """Packs b, the rows from ``first`` on, an even number, of a matrix with so many rows."""
    if precision != _FLOAT32:
        _pack(precision, 0, b.ctypes.data, _row_length(b), b.shape[0], b.shape[1], packed.ctypes.data, first, rows)


@inlined
def multiply(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b. Rows of all matrices are contiguous. ``keep`` is 0 or 1."""
    multiply_part(a, b, packed, 0, c, keep, precision)


@inlined
def multiply_part(a, b, packed, first, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b', of the rows b' of b from ``first`` on, an even number; as many as a has columns."""
    K = a.shape[1]
    if precision != _FLOAT32 and K > 0:
        _multiply(
            precision, 0, c.shape[0], c.shape[1], K, a.ctypes.data, _row_length(a), packed.ctypes.data, first, 0,
            b.shape[0], b.shape[1], keep != _ZERO, c.ctypes.data, _row_length(c),
        )  # fmt: skip
    else:
        _by_blas(PLAIN, PLAIN, a, b[first : first + K], c, K, keep)


@inlined
def multiply_bt(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a bᵀ, with b packed by ``pack_t``."""
    multiply_bt_part(a, b, packed, 0, c, keep, precision)


@inlined
def multiply_bt_part(a, b, packed, first, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b'ᵀ, of the rows b' of b from ``first`` on, a multiple of COLUMNS; as many as c has columns."""
    K = a.shape[1]
    if precision != _FLOAT32 and K > 0:
        _multiply(
            precision, 0, c.shape[0], c.shape[1], K, a.ctypes.data, _row_length(a), packed.ctypes.data, 0, first, K,
            b.shape[0], keep != _ZERO, c.ctypes.data, _row_length(c),
        )  # fmt: skip
    else:
        _by_blas(PLAIN, TRANSPOSED, a, b[first : first + c.shape[1]], c, K, keep)


@inlined
def multiply_at(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + aᵀ b. In bfloat16, b itself is not read, only what was packed."""
    K = a.shape[0]
    if precision != _FLOAT32 and K > 0:
        _multiply(
            precision, 1, c.shape[0], c.shape[1], K, a.ctypes.data, _row_length(a), packed.ctypes.data, 0, 0, K,
            c.shape[1], keep != _ZERO, c.ctypes.data, _row_length(c),
        )  # fmt: skip
    else:
        _by_blas(TRANSPOSED, PLAIN, a, b, c, K, keep)


@inlined
def multiply_at_part(a, b, packed, first, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + aᵀ b', of the rows b' of b from ``first`` on, an even number; as many as a has."""
    K = a.shape[0]
    if precision != _FLOAT32 and K > 0:
        _multiply(
            precision, 1, c.shape[0], c.shape[1], K, a.ctypes.data, _row_length(a), packed.ctypes.data, first, 0,
            b.shape[0], b.shape[1], keep != _ZERO, c.ctypes.data, _row_length(c),
        )  # fmt: skip
    else:
        _by_blas(TRANSPOSED, PLAIN, a, b[first : first + K], c, K, keep)


@inlined
def _by_blas(trans_a, trans_b, a, b, c, K, keep):  # type: ignore[no-untyped-def]
    M, N = c.shape
    if K == 0:
        for i in range(M):
            for j in range(N):
                c[i, j] = keep * c[i, j] if keep else _ZERO
    elif M and N:
        sgemm(
            ROW_MAJOR, trans_a, trans_b, M, N, K, _ONE, a.ctypes.data, _row_length(a), b.ctypes.data, _row_length(b),
            keep, c.ctypes.data, _row_length(c),
        )  # fmt: skip


@inlined
def _row_length(x):  # type: ignore[no-untyped-def]
    """Elements from one row to the next. NumPy may give an axis of size 1 any stride, so a single row's is not used."""
    return x.strides[0] // 4 if x.shape[0] > 1 else max(x.shape[1], 1)
