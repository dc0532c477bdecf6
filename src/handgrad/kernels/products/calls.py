"""Matrix products inside compiled code.

A kernel that multiplies, adds a bias and applies a nonlinearity is one call that holds no lock, instead of several
that each wait for Python's. float32 is multiplied by NumPy's own BLAS, whole or in tiles, bfloat16 by our own code.
What the functions take as ``precision`` is the number that ``code_of`` gives.

In bfloat16 the second matrix of a product is packed first, into memory from ``new_packed``, and then used as often as
one likes. In float32 that memory is empty, and packing does nothing. So the kernels are written once for both.

All matrices are float32, and the numbers of a row lie side by side; rows may lie apart. Nothing here checks shapes:
these functions pass addresses on, so that a wrong shape reads or writes other memory.

The products of a part of b begin at an even row of it, because the packed matrix holds rows in pairs. They end at an
even row too, or with b: else the row after the last one would count, times zero, which is NaN if that row has infinity
or NaN.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from handgrad.kernels.products import bfloat16, tiles
from handgrad.kernels.products.blas import PLAIN, ROW_MAJOR, TRANSPOSED, sgemm
from handgrad.kernels.products.blocks import STRIP
from handgrad.kernels.products.helping import FLOAT32
from handgrad.kernels.products.packing import write_zeros
from handgrad.system.arrays import Array
from handgrad.system.compiling import called, inlined

_ZERO, _ONE = np.float32(0), np.float32(1)
_pack, _multiply, _multiply_in_tiles = bfloat16.pack, bfloat16.multiply, tiles.multiply


def new_packed(precision: int, *shapes: tuple[int, ...]) -> Array:
    """Memory for a packed matrix of any of these shapes (terms, columns)."""
    return np.empty(0 if precision <= FLOAT32 else max(bfloat16.size_of_packed(*each) for each in shapes), np.uint32)


def rows_of_strip(rows: int, precision: int) -> int:
    """How many rows of the first matrix a kernel should take at a time, so that what it computes of them stays in the
    core's cache. BLAS, which packs both matrices itself, takes all.
    """
    return STRIP if precision > FLOAT32 else max(rows, 1)


rows_at_once = inlined(rows_of_strip)
"""The same for compiled code."""


@intrinsic
def _at(context, x):  # type: ignore[no-untyped-def]
    """The address of an array's first element, as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.int64))

    return types.int64(x), generate


@called
def _row(x):  # type: ignore[no-untyped-def]
    """Elements from one row to the next. NumPy may give an axis of size 1 any stride, so a single row's is not used."""
    return x.strides[0] // 4 if x.shape[0] > 1 else max(x.shape[1], 1)


@called
def pack(b, packed, precision):  # type: ignore[no-untyped-def]
    """Packs b (K, N), a float32 matrix whose rows are contiguous."""
    if precision > FLOAT32:
        _pack(precision, 0, _at(b), _row(b), b.shape[0], b.shape[1], _at(packed), 0, b.shape[0])


@called
def pack_t(b, packed, precision):  # type: ignore[no-untyped-def]
    """Packs the transpose of b (N, K)."""
    if precision > FLOAT32:
        _pack(precision, 1, _at(b), _row(b), b.shape[1], b.shape[0], _at(packed), 0, b.shape[1])


@called
def pack_rows(b, first, rows, packed, precision):  # type: ignore[no-untyped-def]
    """Packs b, the rows from ``first`` on, an even number, of a matrix with ``rows`` rows. An odd number of rows ends
    with the matrix.
    """
    if precision > FLOAT32:
        _pack(precision, 0, _at(b), _row(b), b.shape[0], b.shape[1], _at(packed), first, rows)


@inlined
def multiply(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b. Rows of all matrices are contiguous. ``keep`` is 0 or 1."""
    multiply_part(a, b, packed, 0, c, keep, precision)


@called
def multiply_part(a, b, packed, first, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b', of the rows b' of b from ``first`` on, an even number; as many as a has columns.

    An odd number of rows ends with b.
    """
    _product(
        precision, PLAIN, PLAIN, c.shape[0], c.shape[1], a.shape[1], _at(a), _row(a), _at(b) + 4 * first * _row(b),
        _row(b), _at(packed), first, 0, b.shape[0], b.shape[1], keep, _at(c), _row(c),
    )  # fmt: skip


@inlined
def multiply_bt(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a bᵀ, with b packed by ``pack_t``."""
    multiply_bt_part(a, b, packed, 0, c, keep, precision)


@called
def multiply_bt_part(a, b, packed, first, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + a b'ᵀ, of the rows b' of b from ``first`` on, a multiple of COLUMNS; as many as c has columns."""
    _product(
        precision, PLAIN, TRANSPOSED, c.shape[0], c.shape[1], a.shape[1], _at(a), _row(a),
        _at(b) + 4 * first * _row(b), _row(b), _at(packed), 0, first, b.shape[1], b.shape[0], keep, _at(c), _row(c),
    )  # fmt: skip


@called
def multiply_at(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + aᵀ b. In bfloat16, b itself is not read, only what was packed."""
    _product(
        precision, TRANSPOSED, PLAIN, c.shape[0], c.shape[1], a.shape[0], _at(a), _row(a), _at(b), _row(b), _at(packed),
        0, 0, a.shape[0], b.shape[1], keep, _at(c), _row(c),
    )  # fmt: skip


@called
def multiply_at_part(a, b, packed, first, c, keep, precision):  # type: ignore[no-untyped-def]
    """c ← keep · c + aᵀ b', of the rows b' of b from ``first`` on, an even number; as many as a has.

    An odd number of rows ends with b.
    """
    _product(
        precision, TRANSPOSED, PLAIN, c.shape[0], c.shape[1], a.shape[0], _at(a), _row(a),
        _at(b) + 4 * first * _row(b), _row(b), _at(packed), first, 0, b.shape[0], b.shape[1], keep, _at(c), _row(c),
    )  # fmt: skip


@called
def _product(  # type: ignore[no-untyped-def]
    precision, trans_a, trans_b, M, N, K, a, a_row, b, b_row, packed, first_term, first_column, all_terms, all_columns,
    keep, c, c_row,
):  # fmt: skip
    if M == 0 or N == 0:
        return
    if K == 0:
        if keep == _ZERO:
            for i in range(M):
                write_zeros(c + 4 * i * c_row, N)
    elif precision > FLOAT32:
        _multiply(
            precision, trans_a == TRANSPOSED, M, N, K, a, a_row, packed, first_term, first_column, all_terms,
            all_columns, keep != _ZERO, c, c_row,
        )  # fmt: skip
    elif precision < FLOAT32:
        _multiply_in_tiles(-precision, trans_a, trans_b, M, N, K, a, a_row, b, b_row, keep != _ZERO, c, c_row)
    else:
        sgemm(ROW_MAJOR, trans_a, trans_b, M, N, K, _ONE, a, a_row, b, b_row, keep, c, c_row)
