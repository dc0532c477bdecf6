"""Rotary position embedding, pairs turned by their position: a linear map.

From Su et al. 2021 (https://arxiv.org/abs/2104.09864, equation 34). Turning queries and keys makes their product depend
on how far apart they stand, not on where.
"""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def rotary(x: Array, base: float = 10000.0) -> tuple[Array, tuple[Any, ...]]:
    """x (..., T, D), D even; at position t the pair (x_2i, x_2i+1) is turned by the angle φ = t · base^(-2i/D):

    y_2i   = x_2i cos φ - x_2i+1 sin φ
    y_2i+1 = x_2i sin φ + x_2i+1 cos φ.
    """
    T, D = x.shape[-2:]
    angles = np.arange(T)[:, None] * base ** (-np.arange(0, D, 2) / D)
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    even, odd = x[..., ::2], x[..., 1::2]
    y = np.empty_like(x)
    y[..., ::2] = even * cos - odd * sin
    y[..., 1::2] = even * sin + odd * cos
    return y, (cos, sin)


def rotary_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of rotary for x: dx, of the shape and dtype of x."""
    raise NotImplementedError("rotary_backward is not yet written")
