"""Products to try, the bound of their errors, and memory that shows what was written beside a result."""

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from numba import types

from handgrad.kernels import products
from handgrad.kernels.products.blocks import Multiplier, multiplier
from handgrad.ops.precision import product
from handgrad.system.arrays import Array

SMALLEST_NORMAL, LARGEST = 2.0**-126, float(np.finfo(np.float32).max)
NAN_BITS = (0x7F800001, 0x7F80FFFF, 0x7FBFFFFF, 0x7FC00000, 0x7FFF8000, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF)
"""Signalling and quiet, of both signs. The payload of some lies in the lower 16 bits alone."""
EDGES = (11, 12, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49, 95, 96, 97)
"""Sizes around those of tiles, vectors, panels and strips."""


def sizes() -> Iterator[tuple[int, int, int]]:
    """M, N, K: nothing, one, odd sizes, and each around the edges of blocks while the others are odd."""
    for M in (0, 1, 3):
        for N in (0, 1, 3):
            for K in (0, 1, 2, 3):
                yield M, N, K
    for edge in EDGES:
        yield from ((edge, 5, 7), (5, edge, 7), (5, 7, edge), (edge, edge, edge))
    for K in (1151, 1152, 1153, 1154, 2303, 2304, 2305):
        yield 13, 33, K
    yield from ((191, 65, 64), (193, 63, 63), (97, 79, 1153), (2, 1153, 3))


def numbers(rng: np.random.Generator, rows: int, columns: int, is_transposed: bool = False) -> Array:
    """Normal numbers among others that must not count: rows lie apart, if the matrix has several."""
    rows, columns = (columns, rows) if is_transposed else (rows, columns)
    memory = np.full((rows, columns + 5), np.nan, np.float32)
    memory[:, :columns] = rng.standard_normal((rows, columns))
    return memory[:, :columns]


class Guarded:
    """A matrix of NaN, or of given numbers, and cells on all sides of it that nothing may change."""

    def __init__(self, rows: int, columns: int, contents: Array | None = None) -> None:
        self.memory = np.full((rows + 6, columns + 70), 0x7FC01234, np.uint32)
        self.inside = (slice(3, rows + 3), slice(35, columns + 35))
        self.matrix = self.memory.view(np.float32)[self.inside]
        if contents is not None:
            self.matrix[:] = contents

    def check(self) -> None:
        outside = np.ones(self.memory.shape, bool)
        outside[self.inside] = False
        assert (self.memory[outside] == 0x7FC01234).all(), "cells outside the result were written"


def assert_is_product(found: Array, a: Array, b: Array, old: Array | None = None) -> None:
    """Every element is that of the definition in float64, up to the rounding of sums in float32.

    If sums so far can be too large for float32, their order decides whether they are.
    """
    K = a.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        a, b = a.astype(np.float64), b.astype(np.float64)
        exact, size = product(a, b, "bfloat16"), product(np.abs(a), np.abs(b), "bfloat16")
        if old is not None:
            exact, size = exact + old, size + np.abs(old)
        allowed = (K + 2) * 2.0**-23 * size + K * SMALLEST_NORMAL
        is_near = np.abs(found - exact) <= allowed
        same = np.where(np.isnan(exact), np.isnan(found), found == exact)
        may_overflow, must = size > LARGEST * (1 - 2.0**-16), (np.abs(exact) == size) & (size > LARGEST * 1.0001)
        overflowed = np.where(must, found == np.copysign(np.inf, exact), is_near | ~np.isfinite(found))
        right = np.where(~np.isfinite(exact), same, np.where(may_overflow, overflowed, is_near))
    assert found.shape == exact.shape
    wrong = np.argwhere(~right)
    if len(wrong):
        i, j = wrong[0]
        raise AssertionError(
            f"{len(wrong)} of {right.size} numbers of a product ({len(a)}, {K}) ({K}, {b.shape[1]}) are wrong; at"
            f" {i}, {j} is {found[i, j]!r}, not {exact[i, j]!r} ± {allowed[i, j]:.3g}"
        )


def specials() -> dict[str, tuple[Array, Array]]:
    """For each kind of special numbers, those of a and those of b; the rest of b are powers of two."""
    nan = np.array(NAN_BITS, np.uint32).view(np.float32)
    ties = (np.arange(0x3F80, 0x3FC0, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    one = np.array([1], np.float32)
    return {
        "NaN": (nan, one),
        "infinities": (np.array([np.inf, -np.inf], np.float32), np.array([1, 0], np.float32)),
        "zeros": (np.array([0, -0.0], np.float32), np.array([1, -1], np.float32)),
        "denormal numbers": (np.array([1e-45, -1e-40, 1.1754942e-38], np.float32), np.array([2.0**100], np.float32)),
        "denormal results": (np.array([2.0**-80, -(2.0**-70)], np.float32), np.array([2.0**-50], np.float32)),
        "large numbers": (np.array([1e38, -1e38], np.float32), np.array([1, 10], np.float32)),
        "infinite once rounded": (np.array([3.3961775e38, -LARGEST], np.float32), one),
        "ties": (np.concatenate([ties, -ties, np.nextafter(ties, np.float32(9))]), one),
    }


def with_specials(rng: np.random.Generator, x: Array, special: Array, share: float) -> None:
    """Puts special numbers in place of a share of x."""
    chosen = rng.random(x.shape) < share
    x[chosen] = rng.choice(special, int(chosen.sum()))


# -- ways to multiply two matrices: (a, b, c, keep), where c ← keep · c + a b

Way = Callable[[Array, Array, Array, int], None]


def compiled_ways() -> dict[str, Any]:
    """The functions that kernels call, as calls from Python: of matrices whose rows may lie apart."""
    matrix, number, whole = types.Array(types.float32, 2, "A"), types.float32, types.int64
    packed = types.Array(types.uint32, 1, "C")

    def of(function: Any, *more: Any) -> Any:
        return numba.njit(types.void(matrix, matrix, packed, matrix, number, whole, *more), nogil=True)(function)

    def plain(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
        products.pack(b, packed, precision)
        products.multiply(a, b, packed, c, keep, precision)

    def bt(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
        products.pack_t(b, packed, precision)
        products.multiply_bt(a, b, packed, c, keep, precision)

    def at(a, b, packed, c, keep, precision):  # type: ignore[no-untyped-def]
        products.pack(b, packed, precision)
        products.multiply_at(a, b, packed, c, keep, precision)

    def at_of_rows(a, b, packed, c, keep, precision, rows):  # type: ignore[no-untyped-def]
        for first in range(0, b.shape[0], rows):
            products.pack_rows(b[first : first + rows], first, b.shape[0], packed, precision)
        products.multiply_at(a, b, packed, c, keep, precision)

    def part(a, b, packed, c, keep, precision, first):  # type: ignore[no-untyped-def]
        products.pack(b, packed, precision)
        products.multiply_part(a, b, packed, first, c, keep, precision)

    def bt_part(a, b, packed, c, keep, precision, first):  # type: ignore[no-untyped-def]
        products.pack_t(b, packed, precision)
        products.multiply_bt_part(a, b, packed, first, c, keep, precision)

    def at_part(a, b, packed, c, keep, precision, first):  # type: ignore[no-untyped-def]
        products.pack(b, packed, precision)
        products.multiply_at_part(a, b, packed, first, c, keep, precision)

    return {
        "plain": of(plain), "bt": of(bt), "at": of(at), "at_of_rows": of(at_of_rows, whole), "part": of(part, whole),
        "bt_part": of(bt_part, whole), "at_part": of(at_part, whole),
    }  # fmt: skip


def code_of(precision: Any) -> int:
    code: int = products.code_of(precision)
    return code


def callable_code(lanes: int, has_instructions: bool) -> Multiplier:
    """``blocks.multiplier``, whose functions compiled code alone can call, as calls from Python."""
    pack, multiply, size = multiplier(lanes, has_instructions)
    whole = types.int64

    def call_pack(is_transposed, b, row, terms, columns, packed, first, column, all_terms, all_columns):  # type: ignore[no-untyped-def]
        pack(is_transposed, b, row, terms, columns, packed, first, column, all_terms, all_columns)

    def call_multiply(  # type: ignore[no-untyped-def]
        is_transposed, M, N, K, a, row, packed, first, column, all_terms, all_columns, adds, c, c_row
    ):
        multiply(is_transposed, M, N, K, a, row, packed, first, column, all_terms, all_columns, adds, c, c_row)

    return Multiplier(
        numba.njit(types.void(*[whole] * 10), nogil=True)(call_pack),
        numba.njit(types.void(*[whole] * 14), nogil=True)(call_multiply),
        size,
    )


def by_multiplier(functions: Any, a_is_transposed: bool, b_is_transposed: bool) -> Way:
    """A way through ``blocks.Multiplier``; a and b are stored transposed or not."""

    def multiply(a: Array, b: Array, c: Array, keep: int) -> None:
        (M, K), N = a.shape, b.shape[1]
        packed = np.full(functions.size(K, N), 0x7FC07FC0, np.uint32)
        stored_a, stored_b = a.T if a_is_transposed else a, b.T if b_is_transposed else b
        functions.pack(
            int(b_is_transposed), stored_b.ctypes.data, row_of(stored_b), K, N, packed.ctypes.data, 0, 0, K, N
        )
        functions.multiply(
            int(a_is_transposed), M, N, K, stored_a.ctypes.data, row_of(stored_a), packed.ctypes.data, 0, 0, K, N,
            keep, c.ctypes.data, row_of(c),
        )  # fmt: skip

    return multiply


def row_of(x: Array) -> int:
    """Elements from one row to the next."""
    assert x.strides[1] == 4 or x.shape[1] <= 1 or x.size == 0
    return x.strides[0] // 4
