"""A product of two matrices, block by block (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
Multiplication").

Blocks of both operands are packed so that they fit into the core's caches, and multiplied tile by tile.
"""

from collections.abc import Callable

import numpy as np

from handgrad.kernels.products.instructions import tile
from handgrad.kernels.products.packing import packers, round_all
from handgrad.system.compiling import called

TERMS = 1024
"""Of a block: a longer sum is made of the sums of its blocks, in order."""
_COLUMNS = 256
"""Of a block of b: with 1,024 terms of bfloat16, half of a cache of 1 MiB."""
_TILES_OF_STRIP = 8
"""A strip of a, so many tiles high, is multiplied with a whole block of b."""
_ROWS_AT_ONCE = 1152
"""Rows of a that are packed at once, a multiple of every strip."""
_ROWS = {16: 12, 8: 6, 4: 8}
"""Rows of a tile, by the numbers in a vector: two vectors of columns for each row leave room among the 32 registers of
AVX-512 and of ARM, and the 16 of AVX2.
"""


def multiplier(lanes: int, bfloat16: bool) -> Callable[..., None]:
    """A compiled function, for vectors of ``lanes`` numbers,

        f(a_is_transposed, b_is_transposed, M, N, K, a, a_row, b, b_row, adds, c, c_row, rounds)

    that computes c ← a b, or c ← c + a b if ``adds``. a, b and c are addresses of float32 matrices (M, K), (K, N) and
    (M, N) whose rows are so many elements apart. a may be stored transposed, as (K, M), and b as (N, K).

    ``bfloat16`` multiplies in bfloat16, by instructions that the processor must have. Without, ``rounds`` gives the
    same: operands are rounded to bfloat16, but multiplied as float32.
    """
    tile_rows = _ROWS[lanes]
    strip_size = _TILES_OF_STRIP * tile_rows
    two_vectors, one_vector = (tile(lanes, n, tile_rows, strip_size, bfloat16) for n in (2, 1))
    pack_columns, pack_transposed = packers(lanes, bfloat16)
    group, width = 2 if bfloat16 else 1, 2 * lanes

    @called
    def pack_a(a_is_transposed, a, a_row, rows, terms, packed):  # type: ignore[no-untyped-def]
        steps = (terms + group - 1) // group
        for strip in range(0, rows, strip_size):
            height, target = min(rows - strip, strip_size), packed + 4 * strip * steps
            if a_is_transposed:
                pack_columns(a + 4 * strip, a_row, height, terms, target, height, strip_size)
            else:
                pack_transposed(a + 4 * strip * a_row, a_row, height, terms, target, height, strip_size)

    @called
    def pack_b(b_is_transposed, b, b_row, columns, terms, packed):  # type: ignore[no-untyped-def]
        steps = (terms + group - 1) // group
        for panel in range(0, columns, width):
            count = min(columns - panel, width)
            of_panel = width if count > lanes else lanes
            if b_is_transposed:
                pack_transposed(b + 4 * panel * b_row, b_row, count, terms, packed + 4 * panel * steps, of_panel, of_panel)
            else:
                pack_columns(b + 4 * panel, b_row, count, terms, packed + 4 * panel * steps, of_panel, of_panel)

    @called
    def multiply_packed(a, rows, b, columns, steps, adds, c, c_row, rounds):  # type: ignore[no-untyped-def]
        for strip in range(0, rows, strip_size):
            for panel in range(0, columns, width):
                of_b, count = b + 4 * panel * steps, min(columns - panel, width)
                for row in range(strip, min(strip + strip_size, rows), tile_rows):
                    of_a, height = a + 4 * (strip * steps + row - strip), rows - row
                    of_c = c + 4 * (row * c_row + panel)
                    if count > lanes:
                        two_vectors(of_a, of_b, steps, of_c, c_row, height, count, adds, rounds)
                    else:
                        one_vector(of_a, of_b, steps, of_c, c_row, height, count, adds, rounds)

    @called
    def multiply(a_is_transposed, b_is_transposed, M, N, K, a, a_row, b, b_row, adds, c, c_row, rounds):  # type: ignore[no-untyped-def]
        steps = (min(K, TERMS) + group - 1) // group
        for_a = (min(M, _ROWS_AT_ONCE) + strip_size - 1) // strip_size * strip_size * steps
        for_b = (min(N, _COLUMNS) + width - 1) // width * width * steps
        memory = np.empty(for_a + for_b + lanes, np.uint32)
        skipped = (-memory.ctypes.data // 4) % lanes  # so that vectors begin where cache lines do
        packed_a = memory.ctypes.data + 4 * skipped
        packed_b = packed_a + 4 * for_a
        for k in range(0, K, TERMS):
            terms = min(K - k, TERMS)
            steps = (terms + group - 1) // group
            adding = adds or k > 0
            for i in range(0, M, _ROWS_AT_ONCE):
                rows = min(M - i, _ROWS_AT_ONCE)
                of_a = a + 4 * (k * a_row + i if a_is_transposed else i * a_row + k)
                pack_a(a_is_transposed, of_a, a_row, rows, terms, packed_a)
                if rounds:
                    round_all(memory[skipped : skipped + for_a])
                for j in range(0, N, _COLUMNS):
                    columns = min(N - j, _COLUMNS)
                    of_b = b + 4 * (j * b_row + k if b_is_transposed else k * b_row + j)
                    pack_b(b_is_transposed, of_b, b_row, columns, terms, packed_b)
                    if rounds:
                        round_all(memory[skipped + for_a : skipped + for_a + for_b])
                    of_c = c + 4 * (i * c_row + j)
                    multiply_packed(packed_a, rows, packed_b, columns, steps, adding, of_c, c_row, rounds)
        memory[0] = 0  # it must not be freed before

    return multiply
