"""GELU in its tanh form, compiled. Defined by ``ops.gelu``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.elementwise import run_backward, run_forward
from handgrad.kernels.exponential import exp32
from handgrad.ops.gelu import CUBIC, SQRT_2_OVER_PI, Approximate
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_MINUS_TWICE_SCALE = np.float32(-2 * SQRT_2_OVER_PI)
_TWICE_SCALE = np.float32(2 * SQRT_2_OVER_PI)
_CUBIC, _THREE_CUBIC, _ONE = np.float32(CUBIC), np.float32(3 * CUBIC), np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the input."""

    x: Array


def takes(x: Array, approximate: Approximate = "tanh") -> bool:
    """Takes the tanh form alone."""
    return approximate == "tanh"


def gelu(x: Array, approximate: Approximate = "tanh") -> tuple[Array, Saved]:
    """As ``ops.gelu``."""
    y, x = run_forward(_forward, x)
    return y, Saved(x)


def gelu_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.gelu_backward``."""
    return run_backward(_backward, dy, saved.x)


@inlined
def value_of(x):  # type: ignore[no-untyped-def]
    """x Φ(x), with Φ = ½ (1 + tanh u) = 1 / (1 + exp(-2u))."""
    return x / (_ONE + exp32(_MINUS_TWICE_SCALE * x * (_ONE + _CUBIC * x * x)))


@inlined
def slope_of(x):  # type: ignore[no-untyped-def]
    """Φ + x Φ'. Φ is computed again: to read it from memory would take longer."""
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
