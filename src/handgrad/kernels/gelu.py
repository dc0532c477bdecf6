"""GELU, compiled. Defined by ``ops.gelu``; the exact form runs there."""

import math
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.arrays import Array
from handgrad.compiled import compiled, inlined
from handgrad.kernels.exponential import exp32
from handgrad.ops.gelu import CUBIC, SQRT_2_OVER_PI, Approximate

_MINUS_TWICE_SCALE = np.float32(-2 * SQRT_2_OVER_PI)
_TWICE_SCALE = np.float32(2 * SQRT_2_OVER_PI)
_CUBIC, _THREE_CUBIC, _ONE = np.float32(CUBIC), np.float32(3 * CUBIC), np.float32(1)


def gelu(x: Array, approximate: Approximate = "tanh") -> tuple[Array, tuple[Any, ...]]:
    """As ``ops.gelu``."""
    if approximate != "tanh":
        return ops.gelu(x, approximate)
    x = np.asarray(x, order="C")  # unlike ascontiguousarray this leaves a 0-d array one
    y = np.empty_like(x)
    _forward(x.reshape(-1), y.reshape(-1))
    return y, (x, None, approximate)


def gelu_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """As ``ops.gelu_backward``."""
    x, _, approximate = saved
    if approximate != "tanh":
        return ops.gelu_backward(dy, saved)
    dx: Array = np.empty_like(x)
    size = math.prod(x.shape)
    _backward(np.ascontiguousarray(dy).reshape(size), x.reshape(size), dx.reshape(size))
    return dx


@inlined
def value_of(x):  # type: ignore[no-untyped-def]
    """x Φ(x), where Φ = ½ (1 + tanh u) is 1 / (1 + exp(-2u))."""
    return x / (_ONE + exp32(_MINUS_TWICE_SCALE * x * (_ONE + _CUBIC * x * x)))


@inlined
def slope_of(x):  # type: ignore[no-untyped-def]
    """Φ + x Φ'. Φ is found once more: to read it from memory would take longer."""
    share = _ONE / (_ONE + exp32(_MINUS_TWICE_SCALE * x * (_ONE + _CUBIC * x * x)))
    return share + x * (_TWICE_SCALE * (_ONE + _THREE_CUBIC * x * x) * share * (_ONE - share))


@compiled
def _forward(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = value_of(x[i])


@compiled
def _backward(dy, x, dx):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        dx[i] = dy[i] * slope_of(x[i])
