"""max(x W + b, 0)², compiled. Defined by ``ops.linear_relu_squared``.

The slope is 2 max(h, 0) = 2 √y. The next layer keeps y anyway, so h need not be kept beside it.
"""

import numpy as np

from handgrad.kernels.array_arguments import NOTHING, Into
from handgrad.kernels.linear_relu import Saved, backward_with, forward_with
from handgrad.kernels.products import multiply, multiply_at, multiply_bt, pack, pack_rows, pack_t, rows_at_once
from handgrad.kernels.relu_squared import positive_part
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

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
def _forward(x, weight, packed, bias, precision, y):  # type: ignore[no-untyped-def]
    pack(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        multiply(x[start:stop], weight, packed, y[start:stop], _ZERO, precision)
        for n in range(start, stop):
            for c in range(y.shape[1]):
                positive = positive_part(y[n, c] + bias[c] if bias.size else y[n, c])
                y[n, c] = positive * positive


@compiled
def _backward(dy, x, weight, packed, packed_dh, y, precision, dh, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    pack_t(weight, packed, precision)
    size = rows_at_once(x.shape[0], precision)
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        of_strip = dh[: stop - start]
        for n in range(start, stop):
            row = of_strip[n - start]
            for c in range(y.shape[1]):
                row[c] = dy[n, c] * (_TWO * np.sqrt(y[n, c]))
            if d_bias.size:
                for c in range(y.shape[1]):
                    d_bias[c] += row[c]
        multiply_bt(of_strip, weight, packed, dx[start:stop], _ZERO, precision)
        pack_rows(of_strip, start, x.shape[0], packed_dh, precision)
    multiply_at(x, dh, packed_dh, d_weight, _ONE, precision)
