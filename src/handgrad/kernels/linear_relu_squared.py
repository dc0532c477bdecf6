"""max(x W + b, 0)², compiled. Defined by ``ops.linear_relu_squared``.

The slope is 2 max(h, 0) = 2 √y. The next layer keeps y anyway, so h need not be kept beside it.
"""

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into
from handgrad.kernels.linear_relu import Saved, backward_with, forward_with, takes
from handgrad.kernels.products import multiply, multiply_at, multiply_bt
from handgrad.kernels.relu_squared import positive_part
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

__all__ = ["linear_relu_squared", "linear_relu_squared_backward", "takes"]

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)


def linear_relu_squared(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, Saved]:
    """As ``ops.linear_relu_squared``."""
    return forward_with(_forward, x, weight, bias, precision)


def linear_relu_squared_backward(
    dy: Array, saved: Saved, into: Into = NOTHING
) -> tuple[Array | None, Array | None, Array | None]:
    """As ``ops.linear_relu_squared_backward``."""
    return backward_with(_backward, dy, saved, into)


@compiled
def _forward(x, weight, bias, precision, y):  # type: ignore[no-untyped-def]
    multiply(x, weight, y, _ZERO, precision)
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            positive = positive_part(y[n, c] + bias[c] if bias.size else y[n, c])
            y[n, c] = positive * positive


@compiled
def _backward(dy, x, weight, y, precision, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            dh[n, c] = dy[n, c] * (_TWO * np.sqrt(y[n, c]))
        if d_bias.size:
            for c in range(y.shape[1]):
                d_bias[c] += dh[n, c]
    multiply_bt(dh, weight, dx, _ZERO, precision)
    multiply_at(x, dh, d_weight, _ONE, precision)
