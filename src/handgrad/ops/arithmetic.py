"""Two operands, element by element; the gradient of an operand that was broadcast is the sum over its uses.

An operand may be a Python number: its gradient is None, and it does not change the dtype of the other operand.
If the backward of one operand needs the other, ``saved`` holds it, but only if that gradient is wanted.
"""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import Kind, as_array, is_array, kind_of, unbroadcast
from handgrad.system.arrays import Array

Operand = Array | float
Gradients = tuple[Array | None, Array | None]
Wanted = tuple[bool, bool]


class Kinds(NamedTuple):
    """The slopes are constants: shapes and dtypes are all that the backward needs."""

    a: Kind
    b: Kind


def add(a: Operand, b: Operand) -> tuple[Array, Kinds]:
    """a + b."""
    return np.add(a, b), Kinds(kind_of(a), kind_of(b))


def add_backward(dy: Array, saved: Kinds) -> Gradients:
    """∂(a + b)/∂a = ∂(a + b)/∂b = 1: dy goes to both."""
    a, b = saved
    return unbroadcast(dy, a), unbroadcast(dy, b)


def subtract(a: Operand, b: Operand) -> tuple[Array, Kinds]:
    """a - b."""
    return np.subtract(a, b), Kinds(kind_of(a), kind_of(b))


def subtract_backward(dy: Array, saved: Kinds) -> Gradients:
    """∂(a - b)/∂a = 1, ∂(a - b)/∂b = -1."""
    a, b = saved
    return unbroadcast(dy, a), None if b is None else unbroadcast(-dy, b)


class MultiplySaved(NamedTuple):
    """Each operand, if the other's gradient is wanted."""

    b: Operand | None
    a: Operand | None
    kind_a: Kind
    kind_b: Kind


def multiply(a: Operand, b: Operand, wanted: Wanted = (True, True)) -> tuple[Array, MultiplySaved]:
    """a · b."""
    kind_a, kind_b = kind_of(a, wanted[0]), kind_of(b, wanted[1])
    return np.multiply(a, b), MultiplySaved(kind_a and b, kind_b and a, kind_a, kind_b)


def multiply_backward(dy: Array, saved: MultiplySaved) -> Gradients:
    """∂(ab)/∂a = b, ∂(ab)/∂b = a."""
    b, a, kind_a, kind_b = saved
    return (
        None if b is None else unbroadcast(dy * b, kind_a),
        None if a is None else unbroadcast(dy * a, kind_b),
    )


class DivideSaved(NamedTuple):
    """a is saved only if b's gradient is wanted."""

    a: Operand | None
    b: Operand
    kind_a: Kind
    kind_b: Kind


def divide(a: Operand, b: Operand, wanted: Wanted = (True, True)) -> tuple[Array, DivideSaved]:
    """a / b."""
    kind_a, kind_b = kind_of(a, wanted[0]), kind_of(b, wanted[1])
    return np.divide(a, b), DivideSaved(kind_b and a, b, kind_a, kind_b)


def divide_backward(dy: Array, saved: DivideSaved) -> Gradients:
    """∂(a/b)/∂a = 1/b, ∂(a/b)/∂b = -a/b²."""
    a, b, kind_a, kind_b = saved
    d_a = dy / b
    return unbroadcast(d_a, kind_a), None if a is None else unbroadcast(-d_a * (a / b), kind_b)


class PowerSaved(NamedTuple):
    """Both operands; y = aᵇ if b's gradient is wanted."""

    a: Operand
    b: Operand
    y: Array | None
    kind_a: Kind
    kind_b: Kind


def power(a: Operand, b: Operand, wanted: Wanted = (True, True)) -> tuple[Array, PowerSaved]:
    """a to the power b."""
    kind_a, kind_b = kind_of(a, wanted[0]), kind_of(b, wanted[1])
    y: Array = a**b  # not np.power: the operator computes a square as a product
    return y, PowerSaved(a, b, kind_b and y, kind_a, kind_b)


def power_backward(dy: Array, saved: PowerSaved) -> Gradients:
    """∂aᵇ/∂a = b aᵇ⁻¹ and, as aᵇ = exp(b log a), ∂aᵇ/∂b = aᵇ log a.

    At b = 0 the first is 0 for every a; at a = 0 and b ≥ 0 the second is 0, its limit for b > 0 (as in PyTorch).
    """
    a, b, y, kind_a, kind_b = saved
    d_a = d_b = None
    if kind_a is not None:
        if is_array(b):
            d_a = np.where(b == 0, 0, dy * b * a ** (b - 1))
        else:
            d_a = dy * (b * a ** (b - 1)) if b != 0 else np.zeros_like(dy)
        d_a = unbroadcast(d_a, kind_a)
    if y is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            d_b = unbroadcast(np.where((np.equal(a, 0)) & (b >= 0), 0, dy * y * np.log(a)), kind_b)
    return d_a, d_b


def floor_divide(a: Operand, b: Operand) -> tuple[Array, Kinds]:
    """a / b rounded down to a whole number."""
    return np.floor_divide(a, b), Kinds(kind_of(a), kind_of(b))


def floor_divide_backward(dy: Array, saved: Kinds) -> Gradients:
    """The slope is 0 wherever there is one."""
    a, b = saved
    flat = np.zeros_like(dy)
    return unbroadcast(flat, a), unbroadcast(flat, b)


class RemainderSaved(NamedTuple):
    """The quotient is saved only if b has a gradient."""

    quotient: Array | None
    kind_a: Kind
    kind_b: Kind


def remainder(a: Operand, b: Operand) -> tuple[Array, RemainderSaved]:
    """a - b · floor(a / b); it has b's sign."""
    kind_b = kind_of(b)
    return np.remainder(a, b), RemainderSaved(kind_b and np.floor_divide(a, b), kind_of(a), kind_b)


def remainder_backward(dy: Array, saved: RemainderSaved) -> Gradients:
    """The quotient floor(a / b) is flat: ∂/∂a = 1, ∂/∂b = -floor(a / b)."""
    quotient, kind_a, kind_b = saved
    return unbroadcast(dy, kind_a), None if quotient is None else unbroadcast(-dy * quotient, kind_b)


class ComparedSaved(NamedTuple):
    """The two operands that maximum or minimum chose from."""

    a: Operand
    b: Operand
    kind_a: Kind
    kind_b: Kind


def maximum(a: Operand, b: Operand) -> tuple[Array, ComparedSaved]:
    """The larger of a and b; NaN if either is NaN."""
    return np.maximum(a, b), ComparedSaved(a, b, kind_of(a), kind_of(b))


def maximum_backward(dy: Array, saved: ComparedSaved) -> Gradients:
    """The slope is 1 for the larger, 0 for the smaller; at a tie each gets half."""
    a, b, kind_a, kind_b = saved
    return _to_the_chosen(dy, np.less(a, b), np.greater(a, b), kind_a, kind_b)


def minimum(a: Operand, b: Operand) -> tuple[Array, ComparedSaved]:
    """The smaller of a and b; NaN if either is NaN."""
    return np.minimum(a, b), ComparedSaved(a, b, kind_of(a), kind_of(b))


def minimum_backward(dy: Array, saved: ComparedSaved) -> Gradients:
    """The slope is 1 for the smaller, 0 for the larger; at a tie each gets half."""
    a, b, kind_a, kind_b = saved
    return _to_the_chosen(dy, np.greater(a, b), np.less(a, b), kind_a, kind_b)


class ClipSaved(NamedTuple):
    """The three operands that clip chose from."""

    x: Operand
    low: Operand | None
    high: Operand | None
    kind_x: Kind
    kind_low: Kind
    kind_high: Kind


def clip(x: Operand, low: Operand | None = None, high: Operand | None = None) -> tuple[Array, ClipSaved]:
    """x limited to [low, high]; one of the bounds may be None. If low > high, the result is high.

    Raises ValueError if both are None.
    """
    if low is None and high is None:
        raise ValueError("clip: at least one of min and max must be given")
    y = x
    if low is not None:
        y = np.maximum(y, low)
    if high is not None:
        y = np.minimum(y, high)
    return as_array(y), ClipSaved(x, low, high, kind_of(x), kind_of(low), kind_of(high))


def clip_backward(dy: Array, saved: ClipSaved) -> tuple[Array | None, Array | None, Array | None]:
    """Each element of the result is one of the three operands: its slope is 1, that of the others 0.

    At the kinks x = low and x = high, x gets the slope 1; if low = high, low never gets it, as in PyTorch.
    """
    x, low, high, kind_x, kind_low, kind_high = saved
    below = np.False_ if low is None else np.less(x, low)
    above = np.False_ if high is None else np.greater(x, high)
    inside = np.equal(x, x) & ~below & ~above  # NaN, which does not equal itself, is not inside
    if low is not None and high is not None:
        below = below & np.less(low, high)
        above = above | np.greater(low, high)
    return (
        unbroadcast(np.where(inside, dy, 0), kind_x),
        unbroadcast(np.where(below, dy, 0), kind_low),
        unbroadcast(np.where(above, dy, 0), kind_high),
    )


class WhereSaved(NamedTuple):
    """Which elements were taken from a."""

    condition: Array
    a: Kind
    b: Kind


def where(a: Operand, b: Operand, *, condition: Array) -> tuple[Array, WhereSaved]:
    """a where the condition is true (or not zero), b elsewhere."""
    condition = as_array(condition).astype(bool, copy=False)
    return np.where(condition, a, b), WhereSaved(condition, kind_of(a), kind_of(b))


def where_backward(dy: Array, saved: WhereSaved) -> Gradients:
    """Each element of dy goes to the operand it was taken from."""
    condition, a, b = saved
    return (
        None if a is None else unbroadcast(np.where(condition, dy, 0), a),
        None if b is None else unbroadcast(np.where(condition, 0, dy), b),
    )


class MaskedFillSaved(NamedTuple):
    """Which elements the value replaced."""

    mask: Array
    x: Kind
    value: Kind


def masked_fill(x: Array, value: Operand, *, mask: Array) -> tuple[Array, MaskedFillSaved]:
    """``value``, a number or one element, where the mask is true (or not zero), x elsewhere; in x's dtype.

    Raises TypeError for a value that x's dtype cannot hold.
    """
    mask = as_array(mask).astype(bool, copy=False)
    filling = as_array(value)
    if x.dtype.kind != "f" and filling.dtype.kind == "f":
        raise TypeError(f"masked_fill: the float {value} cannot be put into {x.dtype}")
    y = np.where(mask, np.asarray(filling.astype(x.dtype), like=x), x)
    return y, MaskedFillSaved(mask, kind_of(x), kind_of(value))


def masked_fill_backward(dy: Array, saved: MaskedFillSaved) -> Gradients:
    """A replaced element no longer reaches the loss; the value does, through every element that it replaced."""
    mask, x, value = saved
    return (
        None if x is None else unbroadcast(np.where(mask, 0, dy), x),
        None if value is None else unbroadcast(np.where(mask, dy, 0), value),
    )


def _to_the_chosen(dy: Array, not_a: Array, not_b: Array, kind_a: Kind, kind_b: Kind) -> Gradients:
    shared = np.where(not_a | not_b, dy, 0.5 * dy)
    return (
        None if kind_a is None else unbroadcast(np.where(not_a, 0, shared), kind_a),
        None if kind_b is None else unbroadcast(np.where(not_b, 0, shared), kind_b),
    )
