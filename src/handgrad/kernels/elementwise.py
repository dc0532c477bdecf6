"""What the kernels of functions of one number share: arrays of any shape, as flat ones, for a loop over elements."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def run_forward(loop: Callable[..., None], x: Array, *numbers: np.float32) -> tuple[Array, Array]:
    """y, of x's shape, which ``loop(x, y, *numbers)`` fills; and x, with its elements in order in memory."""
    x = np.asarray(x, order="C")  # unlike ascontiguousarray this keeps a 0-d array 0-d
    y = np.empty_like(x)
    loop(_flat(x), _flat(y), *numbers)
    return y, x


def run_backward(loop: Callable[..., None], dy: Array, kept: Array, *numbers: np.float32) -> Array:
    """dx, which ``loop(dy, kept, dx, *numbers)`` fills; ``kept`` is x or y, as ``run_forward`` returned it."""
    dx: Array = np.empty_like(kept)
    loop(_flat(np.ascontiguousarray(dy)), _flat(kept), _flat(dx), *numbers)
    return dx


def _flat(x: Any) -> Array:
    flat: Array = x.reshape(math.prod(x.shape))
    return flat
