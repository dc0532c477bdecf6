"""Products in bfloat16 as functions of C, which all kernels call. A crew may help with large ones."""

import llvmlite.binding
from numba import config, types
from numba.core.typing import signature

from handgrad.kernels.products import crew
from handgrad.kernels.products.blocks import COLUMNS, multiplier
from handgrad.system.compiling import address_for_c, called
from handgrad.system.processor import has_bfloat16_products

_FEATURES = llvmlite.binding.get_host_cpu_features()
_LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("fma") else 4
_MAY_BE_NATIVE = config.CPU_NAME is None and config.CPU_FEATURES is None
"""Not if NUMBA_CPU_NAME or NUMBA_CPU_FEATURES makes Numba compile for another processor: LLVM would end the process."""
_IS_NATIVE = _LANES == 16 and _MAY_BE_NATIVE and has_bfloat16_products()
_pack, _multiply, size_of_packed = multiplier(_LANES, bfloat16=_IS_NATIVE)

PACK, MULTIPLY = 0, 1
"""Kinds of jobs."""
_PACKED_ALONE, _MULTIPLIED_ALONE = 1 << 16, 1 << 22
"""Fewer numbers to pack, or terms to multiply, are done sooner alone."""


@called
def _share_of(columns, share, shares):  # type: ignore[no-untyped-def]
    """The first column of one of so many shares, and the column after its last."""
    panels = (columns + COLUMNS - 1) // COLUMNS
    return share * panels // shares * COLUMNS, min((share + 1) * panels // shares * COLUMNS, columns)


@called
def pack_share(share, job):  # type: ignore[no-untyped-def]
    """Packs one of the shares of a job that is a matrix to pack."""
    _, shares, is_transposed, b, b_row, terms, columns, packed, first_term, all_terms, all_columns = job[:11]
    first, stop = _share_of(columns, share, shares)
    if first < stop:
        of_b = b + 4 * (first * b_row if is_transposed else first)
        _pack(is_transposed, of_b, b_row, terms, stop - first, packed, first_term, first, all_terms, all_columns)


@called
def multiply_share(share, job):  # type: ignore[no-untyped-def]
    """Computes one of the shares of a job that is a product."""
    _, shares, is_transposed, M, N, K, a, a_row, packed, first_term, first_column = job[:11]
    all_terms, all_columns, adds, c, c_row = job[11:]
    first, stop = _share_of(N, share, shares)
    if first < stop:
        _multiply(
            is_transposed, M, stop - first, K, a, a_row, packed, first_term, first_column + first, all_terms,
            all_columns, adds, c + 4 * first, c_row,
        )  # fmt: skip


_SIZE = types.int64
_OF_PACK = signature(types.void, *[_SIZE] * 9)
_OF_MULTIPLY = signature(types.void, *[_SIZE] * 15)


@address_for_c(_OF_PACK)
def _pack_address(by, is_transposed, b, b_row, terms, columns, packed, first_term, all_terms):  # type: ignore[no-untyped-def]
    helpers = crew.ask(by) if terms * columns >= _PACKED_ALONE else 0
    job = (
        PACK, helpers + 1, is_transposed, b, b_row, terms, columns, packed, first_term, all_terms, columns,
        0, 0, 0, 0, 0,
    )  # fmt: skip
    if helpers:
        crew.give(by, job)
    pack_share(0, job)
    if helpers:
        crew.wait_for_all(by, helpers)


@address_for_c(_OF_MULTIPLY)
def _multiply_address(  # type: ignore[no-untyped-def]
    by, is_transposed, M, N, K, a, a_row, packed, first_term, first_column, all_terms, all_columns, adds, c, c_row
):
    helpers = crew.ask(by) if M * N * K >= _MULTIPLIED_ALONE else 0
    job = (
        MULTIPLY, helpers + 1, is_transposed, M, N, K, a, a_row, packed, first_term, first_column, all_terms,
        all_columns, adds, c, c_row,
    )  # fmt: skip
    if helpers:
        crew.give(by, job)
    multiply_share(0, job)
    if helpers:
        crew.wait_for_all(by, helpers)


llvmlite.binding.add_symbol("handgrad_bfloat16_pack", _pack_address)
llvmlite.binding.add_symbol("handgrad_bfloat16_multiply", _multiply_address)
pack = types.ExternalFunction("handgrad_bfloat16_pack", _OF_PACK)
"""``pack(crew, is_transposed, b, b_row, terms, columns, packed, first_term, all_terms)``: as
``blocks.Multiplier.pack``, of all columns. The crew helps with large matrices.
"""
multiply = types.ExternalFunction("handgrad_bfloat16_multiply", _OF_MULTIPLY)
"""As ``blocks.Multiplier.multiply``, after a crew that helps with large products."""
