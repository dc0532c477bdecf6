"""Functions of one number, applied to each element: y = f(x), so dx = dy · f'(x).

Most are one line: the function, dx from dy and x or y, and the reason.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from handgrad.ops.shapes import as_array
from handgrad.system.arrays import Array

Function = TypeVar("Function", bound=Callable[..., Any])


class Input(NamedTuple):
    """The slope is computed from x."""

    x: Array


class Output(NamedTuple):
    """The slope is computed from y = f(x)."""

    y: Array


Nothing: TypeAlias = tuple[()]
"""The slope is the same for every x."""


def _from_input(
    name: str, f: Callable[[Array], Array], gradient: Callable[[Array, Array], Any], what: str, why: str
) -> tuple[Callable[[Array], tuple[Array, Input]], Callable[[Array, Input], Array]]:
    """The pair of f; ``gradient(dy, x)`` returns dx."""

    def forward(x: Array) -> tuple[Array, Input]:
        return f(x), Input(x)

    def backward(dy: Array, saved: Input) -> Array:
        return as_array(gradient(dy, saved.x))

    return _named(forward, name, what), _named(backward, f"{name}_backward", why)


def _from_output(
    name: str, f: Callable[[Array], Array], gradient: Callable[[Array, Array], Any], what: str, why: str
) -> tuple[Callable[[Array], tuple[Array, Output]], Callable[[Array, Output], Array]]:
    """The pair of f; ``gradient(dy, y)`` returns dx. The output exists anyway, so x need not be kept."""

    def forward(x: Array) -> tuple[Array, Output]:
        y = f(x)
        return y, Output(y)

    def backward(dy: Array, saved: Output) -> Array:
        return as_array(gradient(dy, saved.y))

    return _named(forward, name, what), _named(backward, f"{name}_backward", why)


def _from_nothing(
    name: str, f: Callable[[Array], Array], gradient: Callable[[Array], Array], what: str, why: str
) -> tuple[Callable[[Array], tuple[Array, Nothing]], Callable[[Array, Nothing], Array]]:
    """The pair of f; ``gradient(dy)`` returns dx."""

    def forward(x: Array) -> tuple[Array, Nothing]:
        return f(x), ()

    def backward(dy: Array, saved: Nothing) -> Array:
        return gradient(dy)

    return _named(forward, name, what), _named(backward, f"{name}_backward", why)


def _named(function: Function, name: str, docstring: str) -> Function:
    function.__name__ = function.__qualname__ = name
    function.__code__ = function.__code__.replace(co_name=name, co_qualname=name)  # for tracebacks and profilers
    function.__doc__ = docstring
    return function


def _sigmoid(x: Array) -> Array:
    """Computed from e^-|x|, which cannot overflow."""
    small = np.exp(-np.absolute(x))
    y: Array = np.where(np.less(x, 0), small, 1) / (1 + small)
    return y


# fmt: off
exp, exp_backward = _from_output("exp", np.exp, lambda dy, y: dy * y, "eˣ.", "The exponential is its own slope.")
log, log_backward = _from_input("log", np.log, lambda dy, x: dy / x, "The natural logarithm.", "log'(x) = 1/x.")
log1p, log1p_backward = _from_input(
    "log1p", np.log1p, lambda dy, x: dy / (1 + x), "log(1 + x), accurate near 0.", "The slope is 1 / (1 + x)."
)
expm1, expm1_backward = _from_output(
    "expm1", np.expm1, lambda dy, y: dy * (y + 1), "eˣ - 1, accurate near 0.", "The slope is eˣ = y + 1."
)
sqrt, sqrt_backward = _from_output(
    "sqrt", np.sqrt, lambda dy, y: dy / (2 * y), "√x.", "y² = x gives 2y dy/dx = 1, so the slope is 1 / 2y."
)
sin, sin_backward = _from_input("sin", np.sin, lambda dy, x: dy * np.cos(x), "sin x, x in radians.", "sin' = cos.")
cos, cos_backward = _from_input("cos", np.cos, lambda dy, x: dy * -np.sin(x), "cos x, x in radians.", "cos' = -sin.")
tan, tan_backward = _from_output(
    "tan", np.tan, lambda dy, y: dy * (1 + np.square(y)), "tan x, x in radians.",
    "(sin/cos)' = (cos² + sin²)/cos² = 1 + tan².",
)
tanh, tanh_backward = _from_output(
    "tanh", np.tanh, lambda dy, y: dy * (1 - np.square(y)), "The hyperbolic tangent, (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).",
    "With s, c the hyperbolic sine and cosine, s' = c and c' = s: (s/c)' = (c² - s²)/c² = 1 - tanh².",
)
sigmoid, sigmoid_backward = _from_output(
    "sigmoid", _sigmoid, lambda dy, y: dy * (y * (1 - y)), "1 / (1 + e⁻ˣ).",
    "y = (1 + e⁻ˣ)⁻¹ gives y' = e⁻ˣ (1 + e⁻ˣ)⁻² = y (1 - y).",
)
abs, abs_backward = _from_input(
    "abs", np.absolute, lambda dy, x: dy * np.sign(x), "|x|.",
    "The slope is the sign; at the kink x = 0 we take 0, as PyTorch does.",
)
negative, negative_backward = _from_nothing("negative", np.negative, np.negative, "-x.", "The slope is -1.")
_FLAT = "The slope is 0 wherever there is one."
sign, sign_backward = _from_nothing("sign", np.sign, np.zeros_like, "-1, 0 or 1; NaN for NaN.", _FLAT)
floor, floor_backward = _from_nothing("floor", np.floor, np.zeros_like, "x rounded down to a whole number.", _FLAT)
ceil, ceil_backward = _from_nothing("ceil", np.ceil, np.zeros_like, "x rounded up to a whole number.", _FLAT)
# fmt: on


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


def round(x: Array, decimals: int = 0) -> tuple[Array, Nothing]:
    """x rounded to this many decimals; halves go to the even neighbour."""
    return np.round(x, decimals), ()


def round_backward(dy: Array, saved: Nothing) -> Array:
    """The slope is 0 wherever there is one."""
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
