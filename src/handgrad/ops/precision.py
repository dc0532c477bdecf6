"""Matrix products in float32, or with their operands rounded to bfloat16.

bfloat16 is float32 without its last 16 bits: the same range, but 8 significant bits instead of 24 (Kalamkar et al.
2019, "A Study of BFLOAT16 for Deep Learning Training"). A processor multiplies twice as many pairs of such numbers at
once.
"""

from typing import Any, Literal, get_args

import numpy as np

from handgrad.system.arrays import Array

Precision = Literal["float32", "bfloat16"]
"""What the operands of matrix products are rounded to; float32 leaves them as they are."""

_SMALLEST_NORMAL = 2.0**-126
"""Of float32, and so of bfloat16. Smaller numbers are called denormal."""
_BITS: dict[int, Any] = {4: np.uint32, 8: np.uint64}
_SIGNIFICANT_BITS = 8


def check_precision(name: str, precision: str) -> None:
    """Raises ValueError for an unknown precision, in the name of an operation."""
    if precision not in get_args(Precision):
        raise ValueError(f"{name}: precision must be {' or '.join(get_args(Precision))}, not {precision!r}")


def product(a: Array, b: Array, precision: Precision) -> Array:
    """``a @ b`` of operands in a precision: a (..., M, K), b (..., K, N), in one dtype; returns (..., M, N) in it.

    In bfloat16, both operands are rounded and the terms are summed in the dtype of the operands. Denormal operands and
    results count as zero. Both rules are those of the instruction vdpbf16ps (Intel, "bfloat16 - Hardware Numerics
    Definition", 2018).

    The rounding is no part of the derivative: it is flat almost everywhere. So the backward of a product is made of
    products of rounded operands too, as if the rounding were the identity.
    """
    if precision == "float32":
        return a @ b
    return without_denormals(rounded_to_bfloat16(a) @ rounded_to_bfloat16(b))


def rounded_to_bfloat16(x: Array) -> Array:
    """Every number rounded to the nearest of bfloat16, in the dtype of x, float32 or float64.

    Of two that are equally near, the one whose last bit is 0 is taken. Numbers beyond the largest of bfloat16, by half
    of its last bit or more, become infinite. NaN stays NaN, infinities stay infinities, denormal numbers become zeros.
    """
    x = without_denormals(x)
    kind = _BITS[x.dtype.itemsize]
    dropped = np.finfo(x.dtype).nmant + 1 - _SIGNIFICANT_BITS
    bits = x.view(kind)
    # Half of the last bit that stays, less one: adding this and that bit itself carries into it if the rest is more
    # than a half, or if it is a half and the bit is 1.
    half = kind((1 << (dropped - 1)) - 1)
    odd = (bits >> kind(dropped)) & kind(1)
    kept = (bits + half + odd) & ~kind((1 << dropped) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        y = kept.view(x.dtype).astype(np.float32).astype(x.dtype)  # what float32 cannot hold becomes infinite
    return np.where(np.isnan(x), x, y)


def without_denormals(x: Array) -> Array:
    """x with zeros, of the same sign, in place of all numbers that are denormal in float32."""
    return np.where(np.abs(x) < _SMALLEST_NORMAL, np.copysign(x.dtype.type(0), x), x)
