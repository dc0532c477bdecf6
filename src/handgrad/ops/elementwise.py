"""Functions of one number, applied to each element: y = f(x), so dx = dy · f'(x)."""

from typing import Any

import numpy as np

from handgrad.arrays import Array

Result = tuple[Array, tuple[Any, ...]]
Saved = tuple[Any, ...]


def negative(x: Array) -> Result:
    """-x."""
    return np.negative(x), ()


def negative_backward(dy: Array, saved: Saved) -> Array:
    """The slope is -1."""
    return np.negative(dy)


def exp(x: Array) -> Result:
    """eˣ."""
    y = np.exp(x)
    return y, (y,)


def exp_backward(dy: Array, saved: Saved) -> Array:
    """The exponential is its own slope."""
    (y,) = saved
    return np.asarray(dy * y)


def log(x: Array) -> Result:
    """The natural logarithm."""
    return np.log(x), (x,)


def log_backward(dy: Array, saved: Saved) -> Array:
    """log'(x) = 1/x."""
    (x,) = saved
    return np.asarray(dy / x)


def sqrt(x: Array) -> Result:
    """√x."""
    y = np.sqrt(x)
    return y, (y,)


def sqrt_backward(dy: Array, saved: Saved) -> Array:
    """y² = x gives 2y dy/dx = 1, so the slope is 1 / 2y."""
    (y,) = saved
    return np.asarray(dy / (2 * y))


def abs(x: Array) -> Result:
    """|x|."""
    return np.absolute(x), (x,)


def abs_backward(dy: Array, saved: Saved) -> Array:
    """The slope is the sign; at the kink x = 0 it is taken as 0, as in PyTorch."""
    (x,) = saved
    return np.asarray(dy * np.sign(x))


def sin(x: Array) -> Result:
    """sin x, x in radians."""
    return np.sin(x), (x,)


def sin_backward(dy: Array, saved: Saved) -> Array:
    """sin' = cos."""
    (x,) = saved
    return np.asarray(dy * np.cos(x))


def cos(x: Array) -> Result:
    """cos x, x in radians."""
    return np.cos(x), (x,)


def cos_backward(dy: Array, saved: Saved) -> Array:
    """cos' = -sin."""
    (x,) = saved
    return np.asarray(dy * -np.sin(x))


def tan(x: Array) -> Result:
    """tan x, x in radians."""
    y = np.tan(x)
    return y, (y,)


def tan_backward(dy: Array, saved: Saved) -> Array:
    """(sin/cos)' = (cos² + sin²)/cos² = 1 + tan²."""
    (y,) = saved
    return np.asarray(dy * (1 + np.square(y)))


def tanh(x: Array) -> Result:
    """The hyperbolic tangent, (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)."""
    y = np.tanh(x)
    return y, (y,)


def tanh_backward(dy: Array, saved: Saved) -> Array:
    """With s, c the hyperbolic sine and cosine, s' = c and c' = s: (s/c)' = (c² - s²)/c² = 1 - tanh²."""
    (y,) = saved
    return np.asarray(dy * (1 - np.square(y)))


def sigmoid(x: Array) -> Result:
    """1 / (1 + e⁻ˣ), computed from e^-|x|, which cannot overflow."""
    small = np.exp(-np.absolute(x))
    y = np.where(np.less(x, 0), small, 1) / (1 + small)
    return y, (y,)


def sigmoid_backward(dy: Array, saved: Saved) -> Array:
    """y = (1 + e⁻ˣ)⁻¹ gives y' = e⁻ˣ (1 + e⁻ˣ)⁻² = y (1 - y)."""
    (y,) = saved
    return np.asarray(dy * (y * (1 - y)))


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Result:
    """log(1 + exp(beta · x)) / beta, a smooth relu; x itself where beta · x > threshold, as in PyTorch."""
    scaled = beta * x
    straight = scaled > threshold
    return np.where(straight, x, np.logaddexp(0, scaled) / beta), (scaled, straight)


def softplus_backward(dy: Array, saved: Saved) -> Array:
    """The slope is e^βx / (1 + e^βx), the sigmoid of βx; 1 on the straight part."""
    scaled, straight = saved
    return np.asarray(dy * np.where(straight, 1, sigmoid(scaled)[0]))


def sign(x: Array) -> Result:
    """-1, 0 or 1; NaN for NaN."""
    return np.sign(x), ()


def sign_backward(dy: Array, saved: Saved) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def floor(x: Array) -> Result:
    """The largest whole number that is not above x."""
    return np.floor(x), ()


def floor_backward(dy: Array, saved: Saved) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def ceil(x: Array) -> Result:
    """The smallest whole number that is not below x."""
    return np.ceil(x), ()


def ceil_backward(dy: Array, saved: Saved) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def round(x: Array, decimals: int = 0) -> Result:
    """The nearest number of so many decimals; halves go to the even one."""
    return np.round(x, decimals), ()


def round_backward(dy: Array, saved: Saved) -> Array:
    """Flat wherever it has a slope: 0."""
    return np.zeros_like(dy)


def astype(x: Array, dtype: np.dtype[Any]) -> Result:
    """x in another dtype; x itself where it already has it."""
    return x.astype(dtype, copy=False), (x.dtype,)


def astype_backward(dy: Array, saved: Saved) -> Array:
    """The value is the same up to rounding: dy, in the dtype that x had."""
    (dtype,) = saved
    return dy.astype(dtype, copy=False)
