"""Products in bfloat16 as functions of C, which all kernels call."""

import llvmlite.binding
from numba import types
from numba.core.typing import signature

from handgrad.kernels.products.blocks import multiplier
from handgrad.system.compiling import address_for_c
from handgrad.system.processor import has_bfloat16_products

_FEATURES = llvmlite.binding.get_host_cpu_features()
_LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("fma") else 4
_IS_NATIVE = _LANES == 16 and has_bfloat16_products()
_pack, _multiply, size_of_packed = multiplier(_LANES, bfloat16=_IS_NATIVE)
_SIZE = types.int64
_OF_PACK = signature(types.void, *[_SIZE] * 8)
_OF_MULTIPLY = signature(types.void, *[_SIZE] * 14)


@address_for_c(_OF_PACK)
def _pack_address(is_transposed, b, b_row, terms, columns, packed, first_term, all_terms):  # type: ignore[no-untyped-def]
    _pack(is_transposed, b, b_row, terms, columns, packed, first_term, all_terms)


@address_for_c(_OF_MULTIPLY)
def _multiply_address(  # type: ignore[no-untyped-def]
    is_transposed, M, N, K, a, a_row, packed, first_term, first_column, all_terms, all_columns, adds, c, c_row
):
    _multiply(
        is_transposed, M, N, K, a, a_row, packed, first_term, first_column, all_terms, all_columns, adds, c, c_row
    )


llvmlite.binding.add_symbol("handgrad_bfloat16_pack", _pack_address)
llvmlite.binding.add_symbol("handgrad_bfloat16_multiply", _multiply_address)
pack = types.ExternalFunction("handgrad_bfloat16_pack", _OF_PACK)
"""As ``blocks.Multiplier.pack``."""
multiply = types.ExternalFunction("handgrad_bfloat16_multiply", _OF_MULTIPLY)
"""As ``blocks.Multiplier.multiply``."""
