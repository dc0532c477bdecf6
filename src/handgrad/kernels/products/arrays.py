"""A product of two arrays in a precision, as a call from Python: benchmarks and tests measure it."""

import numpy as np

from handgrad.kernels.products.calls import CODES, multiply, multiply_at, multiply_bt, new_packed, pack, pack_t
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO = np.float32(0)


def multiply_arrays(a: Array, b: Array, c: Array, precision: Precision) -> None:
    """c ← a b: float32, a (M, K), b (K, N), c (M, N). c is stored by rows; a or b may be the transpose of such one.

    float32 is NumPy's own product. Raises ValueError if a and b are both stored transposed.
    """
    if precision == "float32":
        np.matmul(a, b, out=c)
        return
    code = CODES[precision]
    packed = new_packed(code, b.shape)
    if a.flags.c_contiguous and b.flags.c_contiguous:
        _plain(a, b, packed, code, c)
    elif b.flags.c_contiguous:
        _a_transposed(a.T, b, packed, code, c)
    elif a.flags.c_contiguous:
        _b_transposed(a, b.T, packed, code, c)
    else:
        raise ValueError("multiply_arrays: a and b are both stored transposed")


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
