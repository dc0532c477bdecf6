"""GELU, compiled. Defined by ``ops.gelu``; the exact form runs there."""

import math
from typing import Any, Literal

import numpy as np

from handgrad import ops
from handgrad.arrays import Array
from handgrad.compiled import compiled
from handgrad.ops.gelu import CUBIC, SQRT_2_OVER_PI

_MINUS_TWICE_SCALE = np.float32(-2 * SQRT_2_OVER_PI)
_TWICE_SCALE = np.float32(2 * SQRT_2_OVER_PI)
_CUBIC, _THREE_CUBIC, _ONE = np.float32(CUBIC), np.float32(3 * CUBIC), np.float32(1)


def gelu(x: Array, approximate: Literal["tanh", "none"] = "tanh") -> tuple[Array, tuple[Any, ...]]:
    """As ``ops.gelu``."""
    if approximate != "tanh":
        return ops.gelu(x, approximate)
    x = np.asarray(x, order="C")  # unlike ascontiguousarray this leaves a 0-d array one
    y, share = np.empty_like(x), np.empty_like(x)
    _forward(x.reshape(-1), y.reshape(-1), share.reshape(-1))
    return y, (x, share, approximate)


def gelu_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """As ``ops.gelu_backward``."""
    x, share, approximate = saved
    if approximate != "tanh":
        return ops.gelu_backward(dy, saved)
    dx: Array = np.empty_like(x)
    size = math.prod(x.shape)
    _backward(np.ascontiguousarray(dy).reshape(size), x.reshape(size), share.reshape(size), dx.reshape(size))
    return dx


_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
# Where 2ⁿ no longer is a normal number: float32 reaches a little further.
_LARGEST, _SMALLEST = np.float32(88.37626), np.float32(-87.33654)
_HALF, _INFINITY, _ZERO = np.float32(0.5), np.float32(np.inf), np.float32(0)
_C2, _C3, _C4, _C5, _C6, _C7 = (
    np.float32(c)
    for c in (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4)
)


@compiled
def exp32(x):  # type: ignore[no-untyped-def]
    """e^x in float32 to a relative 4e-7, in a form that vectorises (Cephes expf).

    With n the nearest integer to x / ln 2, a polynomial gives e^(x - n ln 2) and a shift of bits 2ⁿ. NaN gives NaN;
    above 88.37 comes infinity, below -87.33 comes 0.
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


@compiled
def _forward(x, y, share):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        value = x[i]
        # ½ (1 + tanh u) is 1 / (1 + exp(-2u)).
        part = _ONE / (_ONE + exp32(_MINUS_TWICE_SCALE * value * (_ONE + _CUBIC * value * value)))
        share[i] = part
        y[i] = value * part


@compiled
def _backward(dy, x, share, dx):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        value, part = x[i], share[i]
        slope = _TWICE_SCALE * (_ONE + _THREE_CUBIC * value * value) * part * (_ONE - part)
        dx[i] = dy[i] * (part + value * slope)
