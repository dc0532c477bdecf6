"""Matrix products inside compiled code, in each precision."""

from handgrad.kernels.products.arrays import multiply_arrays
from handgrad.kernels.products.bfloat16 import helped_by
from handgrad.kernels.products.blocks import COLUMNS
from handgrad.kernels.products.calls import (
    CODES,
    multiply,
    multiply_at,
    multiply_at_part,
    multiply_bt,
    multiply_bt_part,
    multiply_part,
    new_packed,
    pack,
    pack_rows,
    pack_t,
    rows_at_once,
    rows_of_strip,
)

__all__ = [
    "CODES",
    "COLUMNS",
    "helped_by",
    "multiply",
    "multiply_arrays",
    "multiply_at",
    "multiply_at_part",
    "multiply_bt",
    "multiply_bt_part",
    "multiply_part",
    "new_packed",
    "pack",
    "pack_rows",
    "pack_t",
    "rows_at_once",
    "rows_of_strip",
]
