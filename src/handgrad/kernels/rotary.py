"""Rotary position embedding, compiled. Defined by ``ops.rotary``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import matrices_of
from handgrad.ops.rotary import angles, check_rotary
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined


class Saved(NamedTuple):
    """The cosine and the sine of each position's angles, (T, D/2) each."""

    cos: Array
    sin: Array


def rotary(x: Array, offset: int = 0, base: float = 10000.0) -> tuple[Array, Saved]:
    """As ``ops.rotary``."""
    check_rotary("rotary", x.shape[-1], offset)
    saved = Saved(*angles(x.shape[-2], x.shape[-1], offset, base, x.dtype.char))
    y = np.empty(x.shape, x.dtype)
    _turn_all(matrices_of(x), *saved, False, matrices_of(y))
    return y, saved


def rotary_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.rotary_backward``."""
    dx = np.empty(dy.shape, dy.dtype)
    _turn_all(matrices_of(dy), *saved, True, matrices_of(dx))
    return dx


@inlined
def turn(x, cos, sin, back, y):  # type: ignore[no-untyped-def]
    """Writes the vector x, turned by the angles of its planes, into y, which may be x; ``back`` turns the other way."""
    half = cos.size
    if back:
        for i in range(half):
            first, second = x[i], x[half + i]
            y[i] = first * cos[i] + second * sin[i]
            y[half + i] = second * cos[i] - first * sin[i]
    else:
        for i in range(half):
            first, second = x[i], x[half + i]
            y[i] = first * cos[i] - second * sin[i]
            y[half + i] = second * cos[i] + first * sin[i]


@compiled
def _turn_all(x, cos, sin, back, y):  # type: ignore[no-untyped-def]
    for n in range(x.shape[0]):
        for t in range(x.shape[1]):
            turn(x[n, t], cos[t], sin[t], back, y[n, t])
