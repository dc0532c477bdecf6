"""How arrays are seen as rows, and how a gradient finds back to the shape it came from."""

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from handgrad.arrays import Array

Axis: TypeAlias = int | Sequence[int] | None
"""One axis, several, or None for all."""
Kind: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]] | None
"""Shape and dtype of an operand that has a gradient; None for a number, and for integers and booleans."""


def as_rows(x: Array) -> Array:
    """x (..., C) as (N, C), N the product of the leading sizes; a view where the memory allows one.

    Unlike ``reshape(-1, C)`` this also holds for arrays without elements.
    """
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def kind_of(x: Any, wanted: bool = True) -> Kind:
    """What unbroadcast must know of an operand, all that ``saved`` need hold of it; None where none is wanted."""
    return (x.shape, x.dtype) if wanted and isinstance(x, np.ndarray) and x.dtype.kind == "f" else None


def unbroadcast(gradient: Array, kind: Kind) -> Array | None:
    """The gradient of an operand that NumPy stretched to the shape of ``gradient``; None where ``kind`` is None.

    Broadcasting uses one element many times, y_nm = x_m, so that by the chain rule its gradient is the sum over its
    uses: dx_m = Σ_n dy_nm. Every operation that broadcasts comes back through here.
    """
    if kind is None:
        return None
    shape, dtype = kind
    if gradient.shape != shape:
        new = gradient.ndim - len(shape)
        stretched = [new + i for i, size in enumerate(shape) if size == 1 and gradient.shape[new + i] != 1]
        gradient = gradient.sum(axis=(*range(new), *stretched), keepdims=True).reshape(shape)
    return gradient.astype(dtype, copy=False)


def check_bias(name: str, bias: Array | None, size: int) -> None:
    """Raises ValueError for a bias that is not of shape (size,): NumPy would broadcast others, and hide a mistake."""
    if bias is not None and bias.shape != (size,):
        raise ValueError(f"{name}: bias must have shape ({size},), not {bias.shape}")


def axes_of(x: Array, axis: Axis) -> tuple[int, ...]:
    """``axis`` as a tuple of axes counted from 0.

    Raises as NumPy does for one that is not there, is named twice, or is no integer.
    """
    if axis is None:
        return tuple(range(x.ndim))
    several = tuple(map(operator.index, axis if isinstance(axis, list | tuple) else (axis,)))
    axes = tuple(a + x.ndim if a < 0 else a for a in several)
    for a, given in zip(axes, several, strict=True):
        if not 0 <= a < x.ndim:
            raise np.exceptions.AxisError(given, x.ndim)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    return axes


def keep_axes(y: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """A result reduced over ``axes`` of an array of ``shape``, with these as axes of size 1, kept or not before."""
    return np.asarray(y).reshape([1 if i in axes else size for i, size in enumerate(shape)])


def sizes_of(given: Sequence[Any]) -> tuple[int, ...]:
    """The integers of f(2, 3) and of f((2, 3)), as these arrive in f's ``*given``.

    Raises TypeError where they are not integers.
    """
    try:
        if len(given) == 1 and not isinstance(given[0], int | np.integer):
            given = tuple(given[0])
        return tuple(operator.index(value) for value in given)
    except TypeError:
        raise TypeError(f"sizes must be integers, not {', '.join(map(str, given))}") from None
