"""The product in bfloat16 as one function of C, for all kernels."""

import llvmlite.binding
from numba import types
from numba.core.typing import signature

from handgrad.kernels.products.blocks import multiplier
from handgrad.system.compiling import address_for_c
from handgrad.system.processor import has_bfloat16_products

_FEATURES = llvmlite.binding.get_host_cpu_features()
_LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("fma") else 4

_ROUNDS = not has_bfloat16_products()
"""Whether operands are rounded and then multiplied as float32, because the processor cannot multiply bfloat16."""
_multiply = multiplier(_LANES, bfloat16=not _ROUNDS)
_SIZE = types.int64
# Whether a and b are transposed, M, N, K, a and its row length, b, whether to add, c.
_SIGNATURE = signature(types.void, *[_SIZE] * 12)


@address_for_c(_SIGNATURE)
def _address(a_is_transposed, b_is_transposed, M, N, K, a, a_row, b, b_row, adds, c, c_row):  # type: ignore[no-untyped-def]
    _multiply(a_is_transposed != 0, b_is_transposed != 0, M, N, K, a, a_row, b, b_row, adds != 0, c, c_row, _ROUNDS)


llvmlite.binding.add_symbol("handgrad_bfloat16_product", _address)
bfloat16_product = types.ExternalFunction("handgrad_bfloat16_product", _SIGNATURE)
