"""max(x, 0)², compiled. Defined by ``ops.relu_squared``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.elementwise import run_backward, run_forward
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ZERO, _TWO = np.float32(0), np.float32(2)


class Saved(NamedTuple):
    """What the backward needs: the input."""

    x: Array


def relu_squared(x: Array) -> tuple[Array, Saved]:
    """As ``ops.relu_squared``."""
    y, x = run_forward(_forward, x)
    return y, Saved(x)


def relu_squared_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.relu_squared_backward``."""
    return run_backward(_backward, dy, saved.x)


@inlined
def positive_part(x):  # type: ignore[no-untyped-def]
    """max(x, 0); NaN is not below 0 and stays."""
    return _ZERO if x <= _ZERO else x


@compiled
def _forward(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        positive = positive_part(x[i])
        y[i] = positive * positive


@compiled
def _backward(dy, x, dx):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        dx[i] = dy[i] * (_TWO * positive_part(x[i]))
