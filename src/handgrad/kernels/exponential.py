"""e^x and tanh for the kernels, in forms that vectorise: Numba's ``np.exp`` calls the scalar function of C."""

import numpy as np

from handgrad.system.compiling import inlined

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
# Beyond these, 2ⁿ is no longer a normal number; float32 itself reaches a little further.
_LARGEST, _SMALLEST = np.float32(88.37626), np.float32(-87.33654)
_HALF, _ONE, _INFINITY, _ZERO = np.float32(0.5), np.float32(1), np.float32(np.inf), np.float32(0)
_C2, _C3, _C4, _C5, _C6, _C7 = (
    np.float32(c)
    for c in (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4)
)
# Below this tanh is a polynomial, as 1 - 2 / (e²ˣ + 1) would cancel.
_NEAR_ZERO, _TWO = np.float32(0.625), np.float32(2)
_T3, _T5, _T7, _T9, _T11 = (
    np.float32(c) for c in (-3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2, -5.70498872745e-3)
)


@inlined
def exp32(x):  # type: ignore[no-untyped-def]
    """e^x in float32 to a relative 4e-7 (Cephes expf).

    With n the nearest integer to x / ln 2, a polynomial gives e^(x - n ln 2) and a shift of bits 2ⁿ. NaN gives NaN;
    above 88.37 the result is infinity, below -87.33 it is 0.
    """
    n = np.floor(x * _LOG2_E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = (((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r + _ONE
    y = p * np.int32((np.int32(n) + 127) << 23).view(np.float32)
    if x > _LARGEST:
        y = _INFINITY
    if x < _SMALLEST:
        y = _ZERO
    return y


@inlined
def tanh32(x):  # type: ignore[no-untyped-def]
    """tanh x in float32 to a relative 4e-7, also near 0 (Cephes tanhf). NaN gives NaN, ±∞ gives ±1."""
    size = abs(x)
    t = _ONE - _TWO / (exp32(size + size) + _ONE)
    z = x * x
    if size < _NEAR_ZERO:
        t = size + size * z * ((((_T11 * z + _T9) * z + _T7) * z + _T5) * z + _T3)
    if x < _ZERO:
        t = -t
    return t
