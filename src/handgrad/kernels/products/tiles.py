"""Products of float32 that are cut into tiles, as a function of C. A crew may help with them.

Each tile is one call of BLAS, which must be single-threaded. The sizes of a product alone decide how it is cut. So its
bits do not depend on how many threads there are.
"""

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.typing import signature

from handgrad.kernels.products import crew
from handgrad.kernels.products.blas import ROW_MAJOR, TRANSPOSED, sgemm
from handgrad.system.compiling import address_for_c, called

TILES = 2
"""The kind of job, besides those of ``bfloat16``."""
ROWS, COLUMNS = 256, 256
"""Of the largest tile. Smaller ones take longer in all, as BLAS copies the operands of each."""
_NARROW = 128
"""So few columns are not cut."""
_ALIGNED = 16
"""The columns of a tile are a multiple of this, which suits the loops of BLAS."""
_COMPUTED_ALONE = 1 << 21
"""Fewer terms to multiply are done sooner alone."""
_ZERO, _ONE = np.float32(0), np.float32(1)


def columns_of_tile(M: int, N: int) -> int:
    """How many columns the tiles of a product (M, N) have; the last one of a row may have fewer.

    The tiles are nearly equal, and their number is even if it can be: two threads then end at the same time.
    """
    side = (N + COLUMNS - 1) // COLUMNS
    if (M + ROWS - 1) // ROWS % 2 == 1 and side % 2 == 1 and N > _NARROW:
        side += 1
    return ((N + side - 1) // side + _ALIGNED - 1) // _ALIGNED * _ALIGNED


_columns = called(columns_of_tile)
"""The same for compiled code."""


@called
def _compute(tile, job):  # type: ignore[no-untyped-def]
    _, trans_a, trans_b, M, N, K, a, a_row, b, b_row, adds, c, c_row = job[:13]
    columns = _columns(M, N)
    side = (N + columns - 1) // columns
    i, j = tile // side * ROWS, tile % side * columns
    of_a = a + 4 * (i if trans_a == TRANSPOSED else i * a_row)
    of_b = b + 4 * (j * b_row if trans_b == TRANSPOSED else j)
    keep = _ONE if adds else _ZERO
    sgemm(
        ROW_MAJOR, trans_a, trans_b, min(M - i, ROWS), min(N - j, columns), K, _ONE, of_a, a_row, of_b, b_row, keep,
        c + 4 * (i * c_row + j), c_row,
    )  # fmt: skip


@called
def _count(M, N):  # type: ignore[no-untyped-def]
    columns = _columns(M, N)
    return (M + ROWS - 1) // ROWS * ((N + columns - 1) // columns)


@called
def compute_some(by, job):  # type: ignore[no-untyped-def]
    """Computes tiles of a job until the threads of the crew have taken all."""
    tiles = _count(job[3], job[4])
    tile = crew.next_tile(by)
    while tile < tiles:
        _compute(tile, job)
        tile = crew.next_tile(by)


_SIZE = types.int64
_OF_MULTIPLY = signature(types.void, *[_SIZE] * 13)


@address_for_c(_OF_MULTIPLY)
def _multiply_address(by, trans_a, trans_b, M, N, K, a, a_row, b, b_row, adds, c, c_row):  # type: ignore[no-untyped-def]
    job = (TILES, trans_a, trans_b, M, N, K, a, a_row, b, b_row, adds, c, c_row, 0, 0, 0)
    tiles = _count(M, N)
    helpers = crew.ask(by) if tiles > 1 and M * N * K >= _COMPUTED_ALONE else 0
    if helpers:
        crew.give(by, job)
        compute_some(by, job)
        crew.wait_for_all(by, helpers)
    else:
        for tile in range(tiles):
            _compute(tile, job)


llvmlite.binding.add_symbol("handgrad_tiled_multiply", _multiply_address)
multiply = types.ExternalFunction("handgrad_tiled_multiply", _OF_MULTIPLY)
"""``multiply(crew, trans_a, trans_b, M, N, K, a, a_row, b, b_row, adds, c, c_row)`` computes c ← a b, or c ← c + a b if
``adds``, of matrices as ``blas.sgemm`` takes them.
"""
