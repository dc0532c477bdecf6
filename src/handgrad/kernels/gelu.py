"""GELU, compiled. Defined by ``ops.gelu``; the exact form runs there."""

import math
from typing import Any, Literal

import numpy as np

from handgrad import ops
from handgrad.arrays import Array
from handgrad.kernels.compiled import compiled, exp32
from handgrad.ops.gelu import CUBIC, SQRT_2_OVER_PI

_MINUS_TWICE_SCALE = np.float32(-2 * SQRT_2_OVER_PI)
_TWICE_SCALE = np.float32(2 * SQRT_2_OVER_PI)
_CUBIC, _THREE_CUBIC, _ONE = np.float32(CUBIC), np.float32(3 * CUBIC), np.float32(1)


def gelu(x: Array, approximate: Literal["tanh", "none"] = "tanh") -> tuple[Array, tuple[Any, ...]]:
    """As ``ops.gelu``."""
    if approximate != "tanh":
        return ops.gelu(x, approximate)
    x = np.ascontiguousarray(x)
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
