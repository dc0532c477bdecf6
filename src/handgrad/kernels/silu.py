"""x σ(x), compiled. Defined by ``ops.silu``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.elementwise import run_backward, run_forward
from handgrad.kernels.exponential import exp32
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ONE = np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the input."""

    x: Array


def silu(x: Array) -> tuple[Array, Saved]:
    """As ``ops.silu``."""
    y, x = run_forward(_forward, x)
    return y, Saved(x)


def silu_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.silu_backward``."""
    return run_backward(_backward, dy, saved.x)


@inlined
def sigmoid32(x):  # type: ignore[no-untyped-def]
    """σ(x) = 1 / (1 + e⁻ˣ)."""
    return _ONE / (_ONE + exp32(-x))


@compiled
def _forward(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = x[i] * sigmoid32(x[i])


@compiled
def _backward(dy, x, dx):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        share = sigmoid32(x[i])  # computed again: to read it from memory would take longer
        dx[i] = dy[i] * share * (_ONE + x[i] * (_ONE - share))
