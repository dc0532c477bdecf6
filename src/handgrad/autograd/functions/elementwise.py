"""Element by element: arithmetic with broadcasting, functions of one number, comparisons."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.autograd.dtypes import checked_dtype
from handgrad.autograd.operands import as_tensor, floating, operand, promoted, without_gradient
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """a + b."""
    return apply(ops.add, *promoted(a, b))


def subtract(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b."""
    return apply(ops.subtract, *promoted(a, b))


def multiply(a: TensorLike, b: TensorLike) -> Tensor:
    """a · b."""
    return apply(ops.multiply, *promoted(a, b))


def divide(a: TensorLike, b: TensorLike) -> Tensor:
    """a / b; integers give float32."""
    return apply(ops.divide, *promoted(a, b, fractions=True))


def power(a: TensorLike, b: TensorLike) -> Tensor:
    """a to the power b."""
    return apply(ops.power, *promoted(a, b))


def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The larger of a and b, element by element; at ties both share the gradient evenly."""
    return apply(ops.maximum, *promoted(a, b))


def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The smaller of a and b, element by element; at ties both share the gradient evenly."""
    return apply(ops.minimum, *promoted(a, b))


def clip(x: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:
    """x limited to [min, max]; at a bound, x gets the gradient."""
    given = [value for value in (x, min, max) if value is not None]
    same = iter(promoted(*given))
    return apply(ops.clip, *(None if value is None else next(same) for value in (x, min, max)))


def sub(a: TensorLike, b: TensorLike, *, alpha: float = 1) -> Tensor:
    """a - alpha · b."""
    return subtract(a, b if alpha == 1 else multiply(b, alpha))


def div(a: TensorLike, b: TensorLike, *, rounding_mode: Literal["floor"] | None = None) -> Tensor:
    """a / b; rounded down if ``rounding_mode`` is "floor".

    Raises ValueError for another mode.
    """
    if rounding_mode not in (None, "floor"):
        raise ValueError(f'div: rounding_mode must be None or "floor", not {rounding_mode!r}')
    return divide(a, b) if rounding_mode is None else floor_divide(a, b)


def where(condition: TensorLike, a: TensorLike | None = None, b: TensorLike | None = None) -> Any:
    """a where the condition holds, b elsewhere. The condition alone gives what ``nonzero`` returns."""
    if a is None or b is None:
        if a is not b:
            raise TypeError("where: give both a and b, or neither")
        return nonzero(condition)
    return apply(ops.where, *promoted(a, b), condition=as_tensor(condition))


def masked_fill(x: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """``value`` (a number or a 0-d tensor) where the mask is true or not zero, x elsewhere, in x's dtype."""
    x, value = as_tensor(x), operand(value)
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"masked_fill: value must be a number or a 0-d tensor, not of shape {value.shape}")
        value = astype(value, x.dtype)
    return apply(ops.masked_fill, x, value, mask=as_tensor(mask))


def negative(x: TensorLike) -> Tensor:
    """-x."""
    return apply(ops.negative, as_tensor(x))


clamp = clip
"""Another name for ``clip``, PyTorch's."""
mul = multiply
"""Another name for ``multiply``, PyTorch's."""
neg = negative
"""Another name for ``negative``, PyTorch's."""
pow = power
"""Another name for ``power``, PyTorch's."""


def absolute(x: TensorLike) -> Tensor:
    """|x|; the slope at 0 is 0."""
    return apply(ops.abs, as_tensor(x))


def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1."""
    return apply(ops.sign, as_tensor(x))


def floor(x: TensorLike) -> Tensor:
    """x rounded down to a whole number."""
    return apply(ops.floor, as_tensor(x))


def ceil(x: TensorLike) -> Tensor:
    """x rounded up to a whole number."""
    return apply(ops.ceil, as_tensor(x))


def round(x: TensorLike, decimals: int = 0) -> Tensor:
    """x rounded to this many decimals; halves go to the even neighbour."""
    return apply(ops.round, as_tensor(x), decimals=decimals)


def exp(x: TensorLike) -> Tensor:
    """eˣ."""
    return apply(ops.exp, floating(x))


def log(x: TensorLike) -> Tensor:
    """The natural logarithm."""
    return apply(ops.log, floating(x))


def log1p(x: TensorLike) -> Tensor:
    """log(1 + x), accurate near 0."""
    return apply(ops.log1p, floating(x))


def expm1(x: TensorLike) -> Tensor:
    """eˣ - 1, accurate near 0."""
    return apply(ops.expm1, floating(x))


def sqrt(x: TensorLike) -> Tensor:
    """√x."""
    return apply(ops.sqrt, floating(x))


def square(x: TensorLike) -> Tensor:
    """x²."""
    return power(x, 2)


def sin(x: TensorLike) -> Tensor:
    """sin x, x in radians."""
    return apply(ops.sin, floating(x))


def cos(x: TensorLike) -> Tensor:
    """cos x, x in radians."""
    return apply(ops.cos, floating(x))


def tan(x: TensorLike) -> Tensor:
    """tan x, x in radians."""
    return apply(ops.tan, floating(x))


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return apply(ops.tanh, floating(x))


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return apply(ops.sigmoid, floating(x))


def relu(x: TensorLike) -> Tensor:
    """max(x, 0); the slope at 0 is 0."""
    return apply(ops.relu, as_tensor(x))


def relu_squared(x: TensorLike) -> Tensor:
    """max(x, 0)²."""
    return apply(ops.relu_squared, as_tensor(x))


def leaky_relu(x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """x if x > 0, else negative_slope · x."""
    return apply(ops.leaky_relu, floating(x), negative_slope=negative_slope)


def gelu(x: TensorLike, approximate: Literal["tanh", "none"] = "tanh") -> Tensor:
    """x Φ(x): GPT-2's tanh form, or with ``approximate="none"`` the exact one."""
    return apply(ops.gelu, floating(x), approximate=approximate)


def silu(x: TensorLike) -> Tensor:
    """x σ(x) with σ(x) = 1 / (1 + e⁻ˣ), also called swish."""
    return apply(ops.silu, floating(x))


def tanh_cap(x: TensorLike, cap: float) -> Tensor:
    """cap · tanh(x / cap): a soft limit, nearly x near 0 and never beyond ±cap; cap is a number above 0."""
    return apply(ops.tanh_cap, floating(x), cap=cap)


def softplus(x: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta · x)) / beta; x itself if beta · x > threshold."""
    return apply(ops.softplus, floating(x), beta=beta, threshold=threshold)


def astype(x: TensorLike, dtype: npt.DTypeLike) -> Tensor:
    """A copy of x in another dtype, even if x has it already; between floats the gradient passes."""
    tensor, wanted = as_tensor(x), checked_dtype(dtype)
    return apply(ops.copy, tensor) if tensor.dtype == wanted else apply(ops.astype, tensor, dtype=wanted)


# -- without a gradient


def equal(a: TensorLike, b: TensorLike) -> Tensor:
    """a = b, element by element; like all comparisons it gives a boolean tensor."""
    return _compared(np.equal, a, b)


def not_equal(a: TensorLike, b: TensorLike) -> Tensor:
    """a ≠ b."""
    return _compared(np.not_equal, a, b)


def less(a: TensorLike, b: TensorLike) -> Tensor:
    """a < b."""
    return _compared(np.less, a, b)


def less_equal(a: TensorLike, b: TensorLike) -> Tensor:
    """a ≤ b."""
    return _compared(np.less_equal, a, b)


def greater(a: TensorLike, b: TensorLike) -> Tensor:
    """a > b."""
    return _compared(np.greater, a, b)


def greater_equal(a: TensorLike, b: TensorLike) -> Tensor:
    """a ≥ b."""
    return _compared(np.greater_equal, a, b)


def logical_not(x: TensorLike) -> Tensor:
    """True where x is false or zero."""
    return without_gradient(np.logical_not(as_tensor(x).data))


def logical_and(a: TensorLike, b: TensorLike) -> Tensor:
    """True where both are true or not zero."""
    return _compared(np.logical_and, a, b)


def logical_or(a: TensorLike, b: TensorLike) -> Tensor:
    """True where one is true or not zero."""
    return _compared(np.logical_or, a, b)


def bitwise_and(a: TensorLike, b: TensorLike) -> Tensor:
    """a and b: logical for booleans, bit by bit for integers."""
    return _compared(np.bitwise_and, a, b)


def bitwise_or(a: TensorLike, b: TensorLike) -> Tensor:
    """a or b: logical for booleans, bit by bit for integers."""
    return _compared(np.bitwise_or, a, b)


def bitwise_xor(a: TensorLike, b: TensorLike) -> Tensor:
    """Either a or b: logical for booleans, bit by bit for integers."""
    return _compared(np.bitwise_xor, a, b)


def bitwise_not(x: TensorLike) -> Tensor:
    """Not x: logical for booleans, bit by bit for integers."""
    return without_gradient(np.bitwise_not(as_tensor(x).data))


def floor_divide(a: TensorLike, b: TensorLike) -> Tensor:
    """a / b rounded down to a whole number; the gradient is zero."""
    return apply(ops.floor_divide, *promoted(a, b))


def remainder(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b · floor(a / b)."""
    return apply(ops.remainder, *promoted(a, b))


def isnan(x: TensorLike) -> Tensor:
    """True where x is NaN."""
    return without_gradient(np.isnan(as_tensor(x).data))


def isinf(x: TensorLike) -> Tensor:
    """True where x is ±∞."""
    return without_gradient(np.isinf(as_tensor(x).data))


def isfinite(x: TensorLike) -> Tensor:
    """True where x is neither NaN nor ±∞."""
    return without_gradient(np.isfinite(as_tensor(x).data))


def nonzero(x: TensorLike) -> tuple[Tensor, ...]:
    """The indices of all elements that are true or not zero: a tensor for each axis, usable as an index."""
    return tuple(without_gradient(indices) for indices in np.nonzero(as_tensor(x).data))


def _compared(function: Callable[..., Any], a: TensorLike, b: TensorLike) -> Tensor:
    return without_gradient(function(*(value.data if isinstance(value, Tensor) else value for value in promoted(a, b))))
