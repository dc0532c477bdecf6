"""Functions of one number, applied to each element: y = f(x), so dx = dy · f'(x)."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from handgrad.ops.shapes import as_array
from handgrad.system.arrays import Array


class Input(NamedTuple):
    """The slope is computed from x."""

    x: Array


class Output(NamedTuple):
    """The slope is computed from y = f(x)."""

    y: Array


Nothing: TypeAlias = tuple[()]
"""The slope is the same for every x."""


def negative(x: Array) -> tuple[Array, Nothing]:
    """-x."""
    return np.negative(x), ()


def negative_backward(dy: Array, saved: Nothing) -> Array:
    """The slope is -1."""
    return np.negative(dy)


def exp(x: Array) -> tuple[Array, Output]:
    """eˣ."""
    y = np.exp(x)
    return y, Output(y)


def exp_backward(dy: Array, saved: Output) -> Array:
    """The exponential is its own slope."""
    return as_array(dy * saved.y)


def log(x: Array) -> tuple[Array, Input]:
    """The natural logarithm."""
    return np.log(x), Input(x)


def log_backward(dy: Array, saved: Input) -> Array:
    """log'(x) = 1/x."""
    return as_array(dy / saved.x)


def sqrt(x: Array) -> tuple[Array, Output]:
    """√x."""
    y = np.sqrt(x)
    return y, Output(y)


def sqrt_backward(dy: Array, saved: Output) -> Array:
    """y² = x gives 2y dy/dx = 1, so the slope is 1 / 2y."""
    return as_array(dy / (2 * saved.y))


def abs(x: Array) -> tuple[Array, Input]:
    """|x|."""
    return np.absolute(x), Input(x)


def abs_backward(dy: Array, saved: Input) -> Array:
    """The slope is the sign; at the kink x = 0 it is taken as 0, as in PyTorch."""
    return as_array(dy * np.sign(saved.x))


def sin(x: Array) -> tuple[Array, Input]:
    """sin x, x in radians."""
    return np.sin(x), Input(x)


def sin_backward(dy: Array, saved: Input) -> Array:
    """sin' = cos."""
    return as_array(dy * np.cos(saved.x))


def cos(x: Array) -> tuple[Array, Input]:
    """cos x, x in radians."""
    return np.cos(x), Input(x)


def cos_backward(dy: Array, saved: Input) -> Array:
    """cos' = -sin."""
    return as_array(dy * -np.sin(saved.x))


def tan(x: Array) -> tuple[Array, Output]:
    """tan x, x in radians."""
    y = np.tan(x)
    return y, Output(y)


def tan_backward(dy: Array, saved: Output) -> Array:
    """(sin/cos)' = (cos² + sin²)/cos² = 1 + tan²."""
    return as_array(dy * (1 + np.square(saved.y)))


def tanh(x: Array) -> tuple[Array, Output]:
    """The hyperbolic tangent, (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)."""
    y = np.tanh(x)
    return y, Output(y)


def tanh_backward(dy: Array, saved: Output) -> Array:
    """With s, c the hyperbolic sine and cosine, s' = c and c' = s: (s/c)' = (c² - s²)/c² = 1 - tanh²."""
    return as_array(dy * (1 - np.square(saved.y)))


def sigmoid(x: Array) -> tuple[Array, Output]:
    """1 / (1 + e⁻ˣ), computed from e^-|x|, which cannot overflow."""
    small = np.exp(-np.absolute(x))
    y = np.where(np.less(x, 0), small, 1) / (1 + small)
    return y, Output(y)


def sigmoid_backward(dy: Array, saved: Output) -> Array:
    """y = (1 + e⁻ˣ)⁻¹ gives y' = e⁻ˣ (1 + e⁻ˣ)⁻² = y (1 - y)."""
    (y,) = saved
    return as_array(dy * (y * (1 - y)))


class SoftplusSaved(NamedTuple):
    """β · x, and whether it is above the threshold."""

    scaled: Array
    straight: Array


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array, SoftplusSaved]:
    """log(1 + exp(beta · x)) / beta, a smooth relu; x itself if beta · x > threshold, as in PyTorch."""
    scaled = beta * x
    straight = scaled > threshold
    return np.where(straight, x, np.logaddexp(0, scaled) / beta), SoftplusSaved(scaled, straight)


def softplus_backward(dy: Array, saved: SoftplusSaved) -> Array:
    """The slope is e^βx / (1 + e^βx), the sigmoid of βx; 1 on the straight part."""
    return as_array(dy * np.where(saved.straight, 1, sigmoid(saved.scaled)[0]))


def sign(x: Array) -> tuple[Array, Nothing]:
    """-1, 0 or 1; NaN for NaN."""
    return np.sign(x), ()


def sign_backward(dy: Array, saved: Nothing) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def floor(x: Array) -> tuple[Array, Nothing]:
    """The largest whole number that is not above x."""
    return np.floor(x), ()


def floor_backward(dy: Array, saved: Nothing) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def ceil(x: Array) -> tuple[Array, Nothing]:
    """The smallest whole number that is not below x."""
    return np.ceil(x), ()


def ceil_backward(dy: Array, saved: Nothing) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def round(x: Array, decimals: int = 0) -> tuple[Array, Nothing]:
    """The nearest number with so many decimals; halves go to the even one."""
    return np.round(x, decimals), ()


def round_backward(dy: Array, saved: Nothing) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


class AstypeSaved(NamedTuple):
    """The dtype that x had."""

    dtype: np.dtype[Any]


def astype(x: Array, dtype: np.dtype[Any]) -> tuple[Array, AstypeSaved]:
    """x in another dtype; x itself if it has that dtype already."""
    return x.astype(dtype, copy=False), AstypeSaved(x.dtype)


def astype_backward(dy: Array, saved: AstypeSaved) -> Array:
    """The value is the same up to rounding: dy, in the dtype that x had."""
    return dy.astype(saved.dtype, copy=False)
