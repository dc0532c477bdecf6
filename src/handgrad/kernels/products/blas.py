"""cblas_sgemm of the BLAS that NumPy itself uses, as a function that compiled code can call."""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.typing import signature


# cblas_sgemm with 64-bit sizes: in NumPy's wheels, and in Apple's Accelerate.
_NAMES = ("scipy_cblas_sgemm64_", "cblas_sgemm64_", "cblas_sgemm$NEWLAPACK$ILP64")
# As cblas.h numbers them.
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112

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
    A = _matrix(a, K, M, lda).T if trans_a == TRANSPOSED else _matrix(a, M, K, lda)
    B = _matrix(b, N, K, ldb).T if trans_b == TRANSPOSED else _matrix(b, K, N, ldb)
    C = _matrix(c, M, N, ldc)
    product = alpha * (A @ B)
    C[...] = product if beta == 0 else beta * C + product


def _matrix(address: int, rows: int, columns: int, row_length: int) -> Any:
    memory = np.ctypeslib.as_array((ctypes.c_float * ((rows - 1) * row_length + columns)).from_address(address))
    strides = (row_length * memory.itemsize, memory.itemsize)
    return np.lib.stride_tricks.as_strided(memory, (rows, columns), strides)


_address = _of_numpy() or ctypes.cast(_by_numpy, ctypes.c_void_p).value
llvmlite.binding.add_symbol("handgrad_sgemm", _address)
sgemm = types.ExternalFunction("handgrad_sgemm", signature(types.void, *_SIGNATURE))
