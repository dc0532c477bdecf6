"""Matrix products inside compiled code, in each precision."""

from handgrad.kernels.products.calls import CODES, multiply, multiply_at, multiply_bt

__all__ = ["CODES", "multiply", "multiply_at", "multiply_bt"]
