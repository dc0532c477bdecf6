"""Matrix products inside compiled code, in each precision."""

from handgrad.kernels.products.calls import (
    CODES,
    COLUMNS,
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
)

__all__ = [
    "CODES",
    "COLUMNS",
    "multiply",
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
]
