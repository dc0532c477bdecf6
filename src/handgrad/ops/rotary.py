"""Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from handgrad.system.arrays import Array


class RotarySaved(NamedTuple):
    """The cosine and the sine of each position's angles, (T, D/2) each."""

    cos: Array
    sin: Array


def rotary(x: Array, offset: int = 0, base: float = 10000.0) -> tuple[Array, RotarySaved]:
    """Turns each vector by angles that grow with its position, so that q · k depends on the distance of the two alone.

    x (..., T, D) with D even; vector t stands at position offset + t. Components i and i + D/2 are one plane, as in
    Hugging Face's models (the paper pairs 2i and 2i + 1, which is another order of the same planes). Position p turns
    plane i by the angle a = p · base^(-2i/D):
        y_i       = x_i cos a - x_{i+D/2} sin a
        y_{i+D/2} = x_{i+D/2} cos a + x_i sin a      (equation 15 of the paper for one plane).
    Angles are computed in float64, whatever the dtype of x.

    Raises ValueError if D is odd or below 2, or for a negative offset.
    """
    check_rotary("rotary", x.shape[-1], offset)
    cos, sin = (np.asarray(each, like=x) for each in angles(x.shape[-2], x.shape[-1], offset, base, x.dtype.char))
    return _turned(x, cos, sin), RotarySaved(cos, sin)


def rotary_backward(dy: Array, saved: RotarySaved) -> Array:
    """Gradient of rotary for x.

    In each plane y = R x with a rotation R, so dx = Rᵀ dy; and Rᵀ turns back, by the angle -a:
        dx_i       =  dy_i cos a + dy_{i+D/2} sin a
        dx_{i+D/2} = -dy_i sin a + dy_{i+D/2} cos a.
    """
    cos, sin = saved
    return _turned(dy, cos, -sin)


def check_rotary(operation: str, head_dim: int, offset: int = 0) -> None:
    """Raises the errors that rotary lists."""
    if head_dim < 2 or head_dim % 2:
        raise ValueError(f"{operation}: vectors of {head_dim} cannot be cut into planes; the size must be even")
    if offset < 0:
        raise ValueError(f"{operation}: offset must be at least 0, not {offset}")


@lru_cache(maxsize=32)
def angles(T: int, D: int, offset: int, base: float, dtype: str) -> tuple[Array, Array]:
    """Cosine and sine (T, D/2) of the angles at T positions. Callers share them, so nobody may write to them."""
    cos, sin = angles_at(np.arange(offset, offset + T), D, base, dtype)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin


def angles_at(positions: Array, D: int, base: float, dtype: str) -> tuple[Array, Array]:
    """Cosine and sine (..., D/2) of the angles at these positions (...)."""
    a = positions[..., None] * base ** (-np.arange(0, D, 2) / D)
    return np.cos(a).astype(dtype), np.sin(a).astype(dtype)


def turned_at(x: Array, positions: Array, base: float) -> Array:
    """x (..., T, D), each vector turned as rotary turns the one at its position; positions broadcast to (..., T)."""
    return _turned(x, *angles_at(positions, x.shape[-1], base, x.dtype.char))


def _turned(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
