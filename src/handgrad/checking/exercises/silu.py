"""x · sigmoid(x), a smooth ReLU: a function of one number, applied to each element.

Named by Elfwing, Uchibe & Doya 2017 (https://arxiv.org/abs/1702.03118); it is also called swish.
"""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def silu(x: Array) -> tuple[Array, tuple[Any, ...]]:
    """x · σ(x) with σ(x) = 1 / (1 + exp(-x)), elementwise; x of any shape."""
    sigmoid = 1 / (1 + np.exp(-x))
    return x * sigmoid, (x, sigmoid)


def silu_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of silu for x: dx, of the shape and dtype of x."""
    raise NotImplementedError("silu_backward is not yet written")
