"""Matrix products inside compiled code, in each precision."""

from handgrad.kernels.products.arrays import multiply_arrays
from handgrad.kernels.products.blocks import COLUMNS
from handgrad.kernels.products.calls import (
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
from handgrad.kernels.products.helping import FLOAT32, code_of, helped_by, shared_by

__all__ = [
    "COLUMNS",
    "FLOAT32",
    "code_of",
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
    "shared_by",
]
