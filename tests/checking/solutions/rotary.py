"""The gradient of rotary position embedding."""

from typing import Any

import numpy as np

from handgrad.checking.exercises.rotary import rotary as rotary
from handgrad.system.arrays import Array


def rotary_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of rotary for x.

    Each pair is y = R x with R = [[cos φ, -sin φ], [sin φ, cos φ]]. For a linear map y_i = Σ_j R_ij x_j the gradient is
    dx_j = Σ_i R_ij dy_i, so dx = Rᵀ dy; and Rᵀ, a rotation's inverse, turns by -φ:
        dx_2i   =  dy_2i cos φ + dy_2i+1 sin φ
        dx_2i+1 = -dy_2i sin φ + dy_2i+1 cos φ.
    """
    cos, sin = saved
    even, odd = dy[..., ::2], dy[..., 1::2]
    dx = np.empty_like(dy)
    dx[..., ::2] = even * cos + odd * sin
    dx[..., 1::2] = odd * cos - even * sin
    return dx
