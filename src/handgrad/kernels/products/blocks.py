"""A product of two matrices, block by block (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
Multiplication").

The second matrix is packed whole, so that several products can use it. The first is packed strip by strip, which stays
in the core's cache while it is multiplied, tile by tile, with one panel of the second after another.

    for each strip of 96 rows of the first matrix
        for each chunk of 1,152 terms           packs the strip's terms
            for each panel of 32 columns        packed before
                for each tile of 12 rows        adds up 12 × 32 numbers in registers, then writes them

A packed matrix is one chunk after another; a chunk is one panel after another; a panel has, for each group of terms,
the groups of its columns side by side. So a tile reads memory from front to back. The last panel may be half as wide:
columns are filled up with zeros to whole vectors, not to whole panels.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from handgrad.kernels.products.instructions import tile
from handgrad.kernels.products.packing import packers, round_all
from handgrad.system.compiling import called

STRIP = 96
"""Rows of the first matrix that are multiplied with the whole second one: a multiple of every tile's."""
COLUMNS = 32
"""A multiple of the columns of every panel."""
_TERMS = 12 * STRIP
"""A longer sum is made of the sums of so many terms, in order. They lie together in the packed matrix."""
_ROWS = {16: 12, 8: 6, 4: 8}
"""Rows of a tile, by the numbers in a vector: two vectors of columns for each row leave room among the 32 registers of
AVX-512 and of ARM, and the 16 of AVX2.
"""


class Multiplier(NamedTuple):
    """Compiled functions for one kind of processor. All arguments are integers; addresses are those of float32."""

    pack: Callable[..., None]
    """``pack(is_transposed, b, b_row, terms, columns, packed, first_term, first_column, all_terms, all_columns)``
    writes the rows from ``first_term`` on, and the columns from ``first_column`` on, of a second matrix (all_terms,
    all_columns) into its packed form. They are b (terms, columns), whose rows are ``b_row`` elements apart; b may be
    stored transposed. ``first_term`` must be even, ``first_column`` a multiple of ``COLUMNS``. If ``terms`` is odd,
    they are the last of the matrix.
    """
    multiply: Callable[..., None]
    """``multiply(is_transposed, M, N, K, a, a_row, packed, first_term, first_column, all_terms, all_columns, adds, c,
    c_row)`` computes c ← a b, or c ← c + a b if ``adds``. a is (M, K) and may be stored transposed. b is the K rows
    from ``first_term`` on, and the N columns from ``first_column`` on, of a packed matrix (all_terms, all_columns),
    with the conditions of ``pack``. K must be at least 1.
    """
    size: Callable[[int, int], int]
    """``size(terms, columns)``: how many groups a packed matrix takes."""


def multiplier(lanes: int, bfloat16: bool) -> Multiplier:
    """The functions for vectors of ``lanes`` numbers that multiply in bfloat16.

    ``bfloat16`` uses instructions for that, which the processor must have. Without, operands are rounded to bfloat16 as
    well, but then multiplied as float32.
    """
    rows_of_tile = _ROWS[lanes]
    two_vectors, one_vector = (tile(lanes, vectors, rows_of_tile, STRIP, bfloat16) for vectors in (2, 1))
    pack_columns, pack_transposed = packers(lanes, bfloat16)
    group, width, rounds = 2 if bfloat16 else 1, 2 * lanes, not bfloat16

    @called
    def pack(is_transposed, b, b_row, terms, columns, packed, first_term, first_column, all_terms, all_columns):  # type: ignore[no-untyped-def]
        all_columns = (all_columns + lanes - 1) // lanes * lanes
        done = 0
        while done < terms:
            chunk = (first_term + done) // _TERMS * _TERMS
            inside = first_term + done - chunk
            steps = (min(all_terms - chunk, _TERMS) + group - 1) // group
            count = min(terms - done, _TERMS - inside)
            for panel in range(0, columns, width):
                place = first_column + panel
                wide = min(all_columns - place, width)
                target = packed + 4 * (chunk // group * all_columns + place * steps + inside // group * wide)
                some = min(columns - panel, width)
                if is_transposed:
                    pack_transposed(b + 4 * (panel * b_row + done), b_row, some, count, target, wide, wide)
                else:
                    pack_columns(b + 4 * (done * b_row + panel), b_row, some, count, target, wide, wide)
                if rounds:
                    round_all(target, count * wide)
            done += count

    @called
    def multiply(  # type: ignore[no-untyped-def]
        is_transposed, M, N, K, a, a_row, packed, first_term, first_column, all_terms, all_columns, adds, c, c_row
    ):
        all_columns = (all_columns + lanes - 1) // lanes * lanes
        memory = np.empty((min(K, _TERMS) + 1) // group * STRIP + lanes, np.uint32)
        of_strip = memory.ctypes.data
        of_strip += -of_strip % (4 * lanes)  # so that vectors begin where cache lines do
        for i in range(0, M, STRIP):
            rows = min(M - i, STRIP)
            done = 0
            while done < K:
                chunk = (first_term + done) // _TERMS * _TERMS
                inside = first_term + done - chunk
                count = min(K - done, _TERMS - inside)
                steps = (count + group - 1) // group
                steps_of_chunk = (min(all_terms - chunk, _TERMS) + group - 1) // group
                if is_transposed:
                    pack_columns(a + 4 * (done * a_row + i), a_row, rows, count, of_strip, rows, STRIP)
                else:
                    pack_transposed(a + 4 * (i * a_row + done), a_row, rows, count, of_strip, rows, STRIP)
                if rounds:
                    round_all(of_strip, steps * STRIP)
                adding = adds or done > 0
                for panel in range(0, N, width):
                    place, some = first_column + panel, min(N - panel, width)
                    wide = min(all_columns - place, width)
                    before = chunk // group * all_columns + place * steps_of_chunk + inside // group * wide
                    of_b = packed + 4 * before
                    for row in range(0, rows, rows_of_tile):
                        of_c = c + 4 * ((i + row) * c_row + panel)
                        if wide > lanes:
                            two_vectors(of_strip + 4 * row, of_b, steps, of_c, c_row, rows - row, some, adding, rounds)
                        else:
                            one_vector(of_strip + 4 * row, of_b, steps, of_c, c_row, rows - row, some, adding, rounds)
                done += count
        memory[0] = 0  # it must not be freed before

    def size(terms: int, columns: int) -> int:
        return (terms + group - 1) // group * (-(-columns // lanes) * lanes)

    return Multiplier(pack, multiply, size)
