"""cap · tanh(x / cap), compiled. Defined by ``ops.tanh_cap``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.elementwise import run_backward, run_forward
from handgrad.kernels.exponential import tanh32
from handgrad.ops.tanh_cap import check_cap
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ONE = np.float32(1)
_SMALLEST, _LARGEST = 1e-30, 1e30


class Saved(NamedTuple):
    """What the backward needs: the output, and the cap."""

    y: Array
    cap: float


def takes(x: Array, cap: float) -> bool:
    """Takes caps that are normal numbers of float32, as are their inverses; and wrong ones, to refuse them."""
    return _SMALLEST <= cap <= _LARGEST or not cap > 0


def tanh_cap(x: Array, cap: float) -> tuple[Array, Saved]:
    """As ``ops.tanh_cap``."""
    cap = check_cap(cap)
    y, _ = run_forward(_forward, x, np.float32(cap))
    return y, Saved(y, cap)


def tanh_cap_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.tanh_cap_backward``."""
    return run_backward(_backward, dy, saved.y, np.float32(saved.cap))


@compiled
def _forward(x, y, cap):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = cap * tanh32(x[i] / cap)


@compiled
def _backward(dy, y, dx, cap):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        share = y[i] / cap
        dx[i] = dy[i] * (_ONE - share * share)
