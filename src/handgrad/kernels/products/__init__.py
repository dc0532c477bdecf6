"""Matrix products inside compiled code."""

from handgrad.kernels.products.blas import multiply, multiply_at, multiply_bt
from handgrad.ops.precision import Precision

CODES: dict[Precision, int] = {"float32": 0, "bfloat16": 1}
"""The precisions as compiled code takes them."""

__all__ = ["CODES", "multiply", "multiply_at", "multiply_bt"]
