"""silu(gate) · up, compiled. Defined by ``ops.swiglu``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import rows_of
from handgrad.kernels.silu import sigmoid32
from handgrad.ops.swiglu import check_swiglu
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ONE = np.float32(1)


class Saved(NamedTuple):
    """What the backward needs: the input as rows (N, 2H)."""

    x: Array


def swiglu(x: Array) -> tuple[Array, Saved]:
    """As ``ops.swiglu``."""
    check_swiglu(x)
    rows = rows_of(x)
    y = np.empty((len(rows), rows.shape[1] // 2), x.dtype)
    _forward(rows, y)
    return y.reshape(*x.shape[:-1], y.shape[1]), Saved(rows)


def swiglu_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.swiglu_backward``."""
    (x,) = saved
    dx = np.empty_like(x)
    _backward(rows_of(dy), x, dx)
    return dx.reshape(*dy.shape[:-1], x.shape[1])


@compiled
def _forward(x, y):  # type: ignore[no-untyped-def]
    N, H = y.shape
    for n in range(N):
        gate, up = x[n, :H], x[n, H:]
        for h in range(H):
            y[n, h] = gate[h] * sigmoid32(gate[h]) * up[h]


@compiled
def _backward(dy, x, dx):  # type: ignore[no-untyped-def]
    N, H = dy.shape
    for n in range(N):
        gate, up = x[n, :H], x[n, H:]
        d_gate, d_up = dx[n, :H], dx[n, H:]
        for h in range(H):
            share = sigmoid32(gate[h])  # computed again: to read it from memory would take longer
            d_gate[h] = dy[n, h] * up[h] * (share * (_ONE + gate[h] * (_ONE - share)))
            d_up[h] = dy[n, h] * (gate[h] * share)
