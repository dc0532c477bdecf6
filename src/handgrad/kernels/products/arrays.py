"""A product of two arrays in a precision, as a call from Python: benchmarks and tests measure it."""

import numpy as np

from handgrad.kernels.products.calls import multiply, multiply_at, multiply_bt, new_packed, pack, pack_t
from handgrad.kernels.products.helping import code_of
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO = np.float32(0)


def multiply_arrays(a: Array, b: Array, c: Array, precision: Precision) -> None:
    """c ← a b: float32, a (M, K), b (K, N), c (M, N). c is stored by rows; a or b may be the transpose of such one.
    Rows may lie apart. c shares no memory with a and b.

    float32 is NumPy's own product. Raises ValueError if an array has another shape, dtype or order than these, or if a
    and b are both stored transposed.
    """
    if {a.dtype, b.dtype, c.dtype} != {np.dtype(np.float32)}:
        raise ValueError(f"multiply_arrays: a, b and c must be float32, not {a.dtype}, {b.dtype} and {c.dtype}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or c.shape != (a.shape[0], b.shape[1]):
        raise ValueError(f"multiply_arrays: no product of {a.shape} and {b.shape} has the shape {c.shape}")
    if precision == "float32":
        np.matmul(a, b, out=c)
        return
    code = code_of(precision)
    packed = new_packed(code, b.shape)
    if not _is_by_rows(c) or not c.flags.writeable:
        raise ValueError("multiply_arrays: c must be stored by rows, and writeable")
    if _is_by_rows(a) and _is_by_rows(b):
        _plain(a, b, packed, code, c)
    elif _is_by_rows(a.T) and _is_by_rows(b):
        _a_transposed(a.T, b, packed, code, c)
    elif _is_by_rows(a) and _is_by_rows(b.T):
        _b_transposed(a, b.T, packed, code, c)
    else:
        raise ValueError("multiply_arrays: a and b must be stored by rows, or one of them transposed")


def _is_by_rows(x: Array) -> bool:
    """Whether the numbers of each row lie side by side."""
    return x.size == 0 or x.shape[1] == 1 or x.strides[1] == x.itemsize


@compiled
def _plain(a, b, packed, precision, c):  # type: ignore[no-untyped-def]
    pack(b, packed, precision)
    multiply(a, b, packed, c, _ZERO, precision)


@compiled
def _a_transposed(a, b, packed, precision, c):  # type: ignore[no-untyped-def]
    pack(b, packed, precision)
    multiply_at(a, b, packed, c, _ZERO, precision)


@compiled
def _b_transposed(a, b, packed, precision, c):  # type: ignore[no-untyped-def]
    pack_t(b, packed, precision)
    multiply_bt(a, b, packed, c, _ZERO, precision)
