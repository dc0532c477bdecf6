"""Matrix products inside compiled code, by the BLAS that NumPy itself uses.

A kernel that multiplies, adds a bias and applies a nonlinearity is one call that holds no lock, instead of several
that each wait for Python's.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.typing import signature

from handgrad.system.compiling import inlined

# cblas_sgemm with 64-bit sizes: in NumPy's wheels, and in Apple's Accelerate.
_NAMES = ("scipy_cblas_sgemm64_", "cblas_sgemm64_", "cblas_sgemm$NEWLAPACK$ILP64")
# As cblas.h numbers them.
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112

_int, _size, _float = types.int32, types.int64, types.float32
# Order, whether A and B are transposed, M, N, K, alpha, A and its row length, B, beta, C; addresses as integers.
_SIGNATURE = (_int, _int, _int, _size, _size, _size, _float, _size, _size, _size, _size, _float, _size, _size)
_OF_C: dict[Any, Any] = {_int: ctypes.c_int32, _size: ctypes.c_int64, _float: ctypes.c_float}
_CALLBACK = ctypes.CFUNCTYPE(None, *(_OF_C[kind] for kind in _SIGNATURE))


def _of_numpy() -> int | None:
    """The address of the cblas_sgemm that NumPy multiplies with; None if none with 64-bit sizes is found."""
    for path in _libraries():
        library = ctypes.CDLL(str(path))
        for name in _NAMES:
            if hasattr(library, name):
                return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    return None


def _libraries() -> Iterator[Path]:
    """NumPy's own library, which also finds those it is linked with; on Windows these lie in a folder beside NumPy."""
    package = Path(np.__file__).parent
    yield from sorted((package / "_core").glob("_multiarray_umath*"))
    yield from sorted((package.parent / "numpy.libs").glob("*openblas*"))


@_CALLBACK
def _by_numpy(order, trans_a, trans_b, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    """cblas_sgemm by ``np.matmul``, if NumPy's library is not found: correct, but slower."""
    A = _matrix(a, K, M, lda).T if trans_a == _TRANSPOSED else _matrix(a, M, K, lda)
    B = _matrix(b, N, K, ldb).T if trans_b == _TRANSPOSED else _matrix(b, K, N, ldb)
    C = _matrix(c, M, N, ldc)
    product = alpha * (A @ B)
    C[...] = product if beta == 0 else beta * C + product


def _matrix(address: int, rows: int, columns: int, row_length: int) -> Any:
    memory = np.ctypeslib.as_array((ctypes.c_float * ((rows - 1) * row_length + columns)).from_address(address))
    strides = (row_length * memory.itemsize, memory.itemsize)
    return np.lib.stride_tricks.as_strided(memory, (rows, columns), strides)


_address = _of_numpy() or ctypes.cast(_by_numpy, ctypes.c_void_p).value
llvmlite.binding.add_symbol("handgrad_sgemm", _address)
_sgemm = types.ExternalFunction("handgrad_sgemm", signature(types.void, *_SIGNATURE))

_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined
def multiply(a, b, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b, for float32 matrices whose rows are contiguous."""
    _product(_PLAIN, _PLAIN, a, b, c, a.shape[1], keep)


@inlined
def multiply_bt(a, b, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a bᵀ."""
    _product(_PLAIN, _TRANSPOSED, a, b, c, a.shape[1], keep)


@inlined
def multiply_at(a, b, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + aᵀ b."""
    _product(_TRANSPOSED, _PLAIN, a, b, c, a.shape[0], keep)


@inlined
def _product(trans_a, trans_b, a, b, c, K, keep):  # type: ignore[no-untyped-def]
    M, N = c.shape
    if K == 0:
        for i in range(M):
            for j in range(N):
                c[i, j] = keep * c[i, j] if keep else _ZERO
    elif M and N:
        _sgemm(
            _ROW_MAJOR, trans_a, trans_b, M, N, K, _ONE, a.ctypes.data, _row_length(a), b.ctypes.data, _row_length(b),
            keep, c.ctypes.data, _row_length(c),
        )  # fmt: skip


@inlined
def _row_length(x):  # type: ignore[no-untyped-def]
    """Elements from one row to the next. NumPy may give an axis of size 1 any stride, so a single row's is not used."""
    return x.strides[0] // 4 if x.shape[0] > 1 else max(x.shape[1], 1)
