"""Products in bfloat16 inside compiled code, against their definition in ``ops.precision`` in float64."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from product_cases import (
    NAN_BITS,
    Guarded,
    Way,
    assert_is_product,
    by_multiplier,
    callable_code,
    code_of,
    compiled_ways,
    numbers,
    products,
    row_of,
    sizes,
    specials,
    with_specials,
)

from handgrad.kernels.products.bfloat16 import _IS_NATIVE
from handgrad.kernels.products.packing import rounded_bits
from handgrad.ops.precision import rounded_to_bfloat16
from handgrad.system.arrays import Array

CODE = code_of("bfloat16")
LAYOUTS = [(False, False), (False, True), (True, False), (True, True)]
"""Whether a, and whether b, is stored transposed."""


@pytest.fixture(scope="module")
def ways() -> dict[str, Any]:
    return compiled_ways()


@pytest.fixture(scope="module", params=[(16, True), (16, False), (8, False), (4, False)], ids=str)
def functions(request: Any) -> Any:
    """The code for each kind of processor. This one runs all that do not need instructions for bfloat16."""
    lanes, is_native = request.param
    if is_native and not _IS_NATIVE:
        pytest.skip("this processor has no instructions for bfloat16")
    return code_for(lanes, is_native)


@cache
def code_for(lanes: int, is_native: bool) -> Any:
    return callable_code(lanes, is_native)


# -- the rounding


def test_all_numbers_are_rounded_as_the_definition_rounds_them() -> None:
    """All upper halves, with the lower halves at which the rounding changes, and some at random."""
    rng = np.random.default_rng(0)
    upper = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    lower = [0, 1, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xFFFF, *rng.integers(0, 1 << 16, 5)]

    @numba.njit
    def all_rounded(bits):  # type: ignore[no-untyped-def]
        return np.array([rounded_bits(each) for each in bits])

    for half in lower:
        bits = upper | np.uint32(half)
        found = all_rounded(bits)
        assert found.dtype == np.uint32
        x = bits.view(np.float32)
        with np.errstate(invalid="ignore"):
            expected = rounded_to_bfloat16(x)
        is_nan = np.isnan(x)
        np.testing.assert_array_equal(found[~is_nan], expected.view(np.uint32)[~is_nan])
        # A NaN keeps its sign and becomes quiet: the upper half alone must still be NaN.
        np.testing.assert_array_equal(found[is_nan], (bits[is_nan] | np.uint32(0x400000)) & np.uint32(0xFFFF0000))


# -- products through the functions that kernels call


def check(multiply: Way, M: int, N: int, K: int, a: Array, b: Array) -> None:
    before = a.copy(), b.copy()
    for keep in (0, 1):
        old = np.random.default_rng(3).standard_normal((M, N)).astype(np.float32) if keep else None
        c = Guarded(M, N, old)
        multiply(a, b, c.matrix, keep)
        c.check()
        assert_is_product(c.matrix, a, b, old)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


def test_each_function_multiplies_matrices_of_all_sizes(ways: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    for M, N, K in sizes():
        packed = products.new_packed(CODE, (K, N))
        plain, turned = numbers(rng, M, K), numbers(rng, M, K, is_transposed=True)
        b, b_turned = numbers(rng, K, N), numbers(rng, K, N, is_transposed=True)
        check(lambda a, b, c, keep: ways["plain"](a, b, packed, c, keep, CODE), M, N, K, plain, b)  # noqa: B023
        check(lambda a, b, c, keep: ways["bt"](a, b.T, packed, c, keep, CODE), M, N, K, plain, b_turned.T)  # noqa: B023
        check(lambda a, b, c, keep: ways["at"](a.T, b, packed, c, keep, CODE), M, N, K, turned.T, b)  # noqa: B023


@pytest.mark.parametrize("rows", [2, 34, 96])
def test_a_matrix_may_be_packed_by_parts_of_its_rows(ways: dict[str, Any], rows: int) -> None:
    rng = np.random.default_rng(2)
    for M, N, K in ((5, 7, 1), (5, 33, 35), (13, 17, 192), (3, 70, 1153), (5, 9, 1249)):
        packed = np.full(len(products.new_packed(CODE, (K, N))), 0x7FC07FC0, np.uint32)
        turned, b = numbers(rng, M, K, is_transposed=True), numbers(rng, K, N)
        check(lambda a, b, c, keep: ways["at_of_rows"](a.T, b, packed, c, keep, CODE, rows), M, N, K, turned.T, b)  # noqa: B023


@pytest.mark.parametrize("first", [0, 2, 96, 1150, 1152, 1154])
def test_a_product_of_some_rows_of_the_second_matrix(ways: dict[str, Any], first: int) -> None:
    """Those from ``first`` on; they may lie in two blocks of the packed matrix."""
    rng = np.random.default_rng(4)
    for M, N, terms, some in ((5, 7, 1, 1), (13, 33, 6, 4), (13, 33, 7, 7), (97, 17, 40, 40), (5, 65, 1201, 1200)):
        b = numbers(rng, first + terms, N)
        b[:first], b[first + some :] = np.nan, np.nan  # all other rows must not count
        packed, of_b = products.new_packed(CODE, b.shape), b[first : first + some]
        a, turned = numbers(rng, M, some), numbers(rng, M, some, is_transposed=True).T
        check(lambda a, _, c, keep: ways["part"](a, b, packed, c, keep, CODE, first), M, N, some, a, of_b)  # noqa: B023
        check(lambda a, _, c, keep: ways["at_part"](a.T, b, packed, c, keep, CODE, first), M, N, some, turned, of_b)  # noqa: B023


@pytest.mark.parametrize("first", [0, 32, 96, 128])
def test_a_product_of_some_columns_of_the_second_matrix(ways: dict[str, Any], first: int) -> None:
    """Those from ``first`` on, and not always to the end; the second matrix is stored transposed."""
    rng = np.random.default_rng(5)
    for M, columns, some, K in ((5, 1, 1, 3), (13, 33, 17, 40), (12, 47, 47, 33), (97, 80, 33, 1154), (3, 40, 0, 5)):
        b = numbers(rng, K, first + columns, is_transposed=True)
        b[:first], b[first + some :] = np.nan, np.nan
        packed, of_b, a = products.new_packed(CODE, b.shape[::-1]), b[first : first + some].T, numbers(rng, M, K)
        check(lambda a, _, c, keep: ways["bt_part"](a, b, packed, c, keep, CODE, first), M, some, K, a, of_b)  # noqa: B023


def test_the_same_functions_multiply_in_float32(ways: dict[str, Any]) -> None:
    rng, nothing = np.random.default_rng(6), np.empty(0, np.uint32)
    assert products.new_packed(code_of("float32"), (7, 5)).size == 0
    a, b = numbers(rng, 13, 7), numbers(rng, 7, 5)
    calls: dict[str, Callable[[Array, float], None]] = {
        "plain": lambda c, keep: ways["plain"](a, b, nothing, c, keep, 0),
        "bt": lambda c, keep: ways["bt"](a, np.ascontiguousarray(b.T), nothing, c, keep, 0),
        "at": lambda c, keep: ways["at"](np.ascontiguousarray(a.T), b, nothing, c, keep, 0),
    }
    for call in calls.values():
        c = Guarded(13, 5)
        call(c.matrix, 0)
        np.testing.assert_allclose(c.matrix, a @ b, rtol=1e-5, atol=1e-5)
        call(c.matrix, 1)
        np.testing.assert_allclose(c.matrix, 2 * (a @ b), rtol=1e-5, atol=1e-5)
        c.check()


# -- the code for each kind of processor


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_each_kind_of_code_multiplies_matrices_of_all_sizes(functions: Any, layout: tuple[bool, bool]) -> None:
    rng, multiply = np.random.default_rng(7), by_multiplier(functions, *layout)
    for M, N, K in sizes():
        if K:  # sums without terms are the caller's
            a, b = numbers(rng, M, K, layout[0]), numbers(rng, K, N, layout[1])
            check(multiply, M, N, K, a.T if layout[0] else a, b.T if layout[1] else b)


@pytest.mark.slow
@pytest.mark.parametrize("kind", specials())
def test_each_kind_of_code_follows_the_rules_of_special_numbers(functions: Any, kind: str) -> None:
    """A few special numbers of a or b among normal ones, or nothing else, in vectors and in the rest of a row."""
    rng = np.random.default_rng(8)
    special, factors = specials()[kind]
    for layout in LAYOUTS:
        multiply = by_multiplier(functions, *layout)
        for M, N, K in ((1, 1, 1), (17, 33, 35), (7, 40, 96), (97, 3, 5)):
            for share in (0.03, 1.0):
                for is_in_a in (True, False):
                    a, b = numbers(rng, M, K, layout[0]), numbers(rng, K, N, layout[1])
                    with_specials(rng, a if is_in_a else b, special, share)
                    with_specials(rng, b if is_in_a else a, factors, 1.0)
                    check(multiply, M, N, K, a.T if layout[0] else a, b.T if layout[1] else b)


@pytest.mark.slow
def test_each_number_enters_a_product_rounded(functions: Any) -> None:
    """Products of one term with 1 are the rounded numbers: to the last bit, but for the signs of zeros."""
    rng = np.random.default_rng(9)
    ties = np.arange(0x0080, 0x7F80, 7, dtype=np.uint32) << 16 | 0x8000
    more = [np.array(NAN_BITS, np.uint32), rng.integers(0, 1 << 32, 4000, np.uint32)]
    x = np.concatenate([ties, ties + 1, ties - 1, *more]).astype(np.uint32).view(np.float32)[:, None]
    with np.errstate(invalid="ignore"):
        expected = rounded_to_bfloat16(x)
    one = np.ones((1, 1), np.float32)
    for layout in LAYOUTS:
        multiply = by_multiplier(functions, *layout)
        by_column, by_row = np.full_like(x, np.nan), np.full_like(x.T, np.nan)
        multiply(np.asarray(x, order="F" if layout[0] else "C"), one, by_column, 0)
        multiply(one, np.asarray(x.T, order="F" if layout[1] else "C"), by_row, 0)
        np.testing.assert_array_equal(by_column, expected)
        np.testing.assert_array_equal(by_row, expected.T)


@pytest.mark.slow
def test_a_sum_that_is_denormal_becomes_zero(functions: Any) -> None:
    """The bound of errors alone would allow it to stay."""
    a, b = np.full((17, 3), 2.0**-65, np.float32), np.full((3, 33), -(2.0**-65), np.float32)
    c = np.full((17, 33), np.nan, np.float32)
    by_multiplier(functions, False, False)(a, b, c, 0)
    assert (c == 0).all()


@pytest.mark.slow
def test_a_result_does_not_depend_on_what_is_beside_it(functions: Any) -> None:
    """A row of a times a column of b has the same bits in every product that contains both."""
    rng, multiply = np.random.default_rng(10), by_multiplier(functions, False, False)
    a, b = numbers(rng, 97, 1200), numbers(rng, 1200, 81)
    whole, part = np.empty((97, 81), np.float32), np.empty((41, 37), np.float32)
    multiply(a, b, whole, 0)
    multiply(a[37:78], b[:, 33:70], part, 0)
    np.testing.assert_array_equal(part, whole[37:78, 33:70])


@pytest.mark.slow
def test_parts_of_a_packed_matrix_by_each_kind_of_code(functions: Any) -> None:
    """Rows and columns that begin inside the packed matrix, at a place the documentation allows."""
    rng = np.random.default_rng(11)
    terms, columns, M = 1300, 100, 13
    b, packed = numbers(rng, terms, columns), np.full(functions.size(terms, columns), 0x7FC07FC0, np.uint32)
    cuts = [(0, 34), (34, 1152), (1152, 1154), (1154, terms)]
    for first, stop in cuts:
        for column, end in ((0, 32), (32, columns)):
            rows = b[first:stop, column:end]
            functions.pack(
                0, rows.ctypes.data, row_of(b), *rows.shape, packed.ctypes.data, first, column, terms, columns
            )
    for first, stop in ((0, terms), (2, 1150), (1150, terms), (1154, 1156), (1152, 1153 + 1)):
        for column, some in ((0, 100), (32, 17), (64, 36), (96, 4), (96, 1)):
            a, c = numbers(rng, M, stop - first), Guarded(M, some)
            functions.multiply(
                0, M, some, stop - first, a.ctypes.data, row_of(a), packed.ctypes.data, first, column, terms, columns,
                0, c.matrix.ctypes.data, row_of(c.matrix),
            )  # fmt: skip
            c.check()
            assert_is_product(c.matrix, a, b[first:stop, column : column + some])


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [16, 8, 4])
def test_other_processors_get_what_instructions_for_bfloat16_give(lanes: int) -> None:
    """Up to the order of sums: to the last bit if each has one term or two, one of them zero."""
    if not _IS_NATIVE:
        pytest.skip("this processor has no instructions for bfloat16")
    rng = np.random.default_rng(12)
    native, other = (by_multiplier(code_for(*kind), False, False) for kind in ((16, True), (lanes, False)))
    for K in (1, 40, 1200):
        a, b = numbers(rng, 50, K), numbers(rng, K, 75)
        ours, theirs = np.empty((2, 50, 75), np.float32)
        native(a, b, ours, 0)
        other(a, b, theirs, 0)
        if K == 1:
            np.testing.assert_array_equal(ours, theirs)
        bound = (K + 2) * 2.0**-23 * (np.abs(a).astype(np.float64) @ np.abs(b))
        assert (np.abs(ours.astype(np.float64) - theirs) <= bound).all()


@pytest.mark.slow
def test_a_packed_matrix_is_filled_up_with_zeros(functions: Any) -> None:
    """To whole vectors, and to whole groups. No result shows this, but what memory held before would be multiplied."""
    for K, N in ((1, 1), (7, 5), (8, 37), (33, 16), (1153, 3)):
        for is_transposed in (0, 1):
            ones = np.ones((N, K) if is_transposed else (K, N), np.float32)
            packed = np.full(functions.size(K, N) + 50, 0x7FC07FC0, np.uint32)
            functions.pack(is_transposed, ones.ctypes.data, row_of(ones), K, N, packed.ctypes.data, 0, 0, K, N)
            assert (packed[-50:] == 0x7FC07FC0).all()
            halves = packed[:-50].view(np.uint16)
            assert set(halves.tolist()) <= {0, 0x3F80}
            assert (halves == 0x3F80).sum() == K * N


@pytest.mark.slow
def test_code_for_another_processor_has_no_instructions_of_this_one() -> None:
    """If the user makes Numba compile for one without them; LLVM would end the process."""
    program = """
import numpy as np
from handgrad.kernels.products import bfloat16, multiply_arrays
from product_cases import assert_is_product
a, b, c = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((13, 9), (9, 33), (13, 33)))
multiply_arrays(a, b, c, "bfloat16")
assert_is_product(c, a, b)
print(bfloat16._IS_NATIVE)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent, env={**os.environ, "NUMBA_CPU_NAME": "generic"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.stdout.strip() == "False", done.stderr[-2000:]


# -- products of arrays


@pytest.mark.parametrize("layout", LAYOUTS[:3], ids=str)
def test_products_of_arrays(layout: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(13)
    for M, N, K in ((0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (13, 33, 35), (100, 70, 1153)):
        a, b = (np.asarray(numbers(rng, *shape), order="C") for shape in ((M, K), (K, N)))
        a, b = (np.asarray(x, order="F" if turned else "C") for x, turned in zip((a, b), layout, strict=True))
        c = np.full((M, N), np.nan, np.float32)
        products.multiply_arrays(a, b, c, "bfloat16")
        assert_is_product(c, a, b)
        products.multiply_arrays(a, b, c, "float32")
        np.testing.assert_array_equal(c, a @ b)


def test_rows_of_arrays_may_lie_apart() -> None:
    rng = np.random.default_rng(14)
    a, b, c = numbers(rng, 13, 35), numbers(rng, 35, 33), Guarded(13, 33)
    for x, y in ((a, b), (a, numbers(rng, 35, 33, is_transposed=True).T), (numbers(rng, 13, 35, True).T, b)):
        products.multiply_arrays(x, y, c.matrix, "bfloat16")
        assert_is_product(c.matrix, x, y)
        c.check()


def test_arrays_of_another_kind_are_refused() -> None:
    a, b, c = np.ones((3, 5), np.float32), np.ones((5, 7), np.float32), np.ones((3, 7), np.float32)
    locked = c.copy()
    locked.flags.writeable = False
    wrong = {
        "must be float32": [(a.astype(np.float64), b, c), (a, b, c.astype(np.float64))],
        "no product of": [(a, b[:4], c), (a, b, c.T), (a, b, c[:2]), (a[0], b, c)],
        "c must be stored by rows, and writeable": [(a, b, np.ones((7, 3), np.float32).T), (a, b, locked)],
        "a and b must be stored by rows": [
            (np.asarray(a, order="F"), np.asarray(b, order="F"), c),
            (np.ones((3, 10), np.float32)[:, ::2], b, c),
            (a, np.ones((5, 14), np.float32)[:, ::2], c),
        ],
    }
    for message, calls in wrong.items():
        for call in calls:
            with pytest.raises(ValueError, match=message):
                products.multiply_arrays(*call, "bfloat16")
