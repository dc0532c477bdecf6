"""Helpers of the operations: arrays seen as rows, and gradients summed back to the shape of their input.

Arrays may be NumPy's or another library's (CuPy's): operations use NumPy's interface alone, ``__array_function__``
and ``__array_ufunc__``. An operation makes new arrays with ``like=`` or from its inputs, so that they belong to the
same library.
"""

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from handgrad.system.arrays import Array

Axis: TypeAlias = int | Sequence[int] | None
"""One axis, several, or None for all."""
Kind: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]] | None
"""Shape and dtype of an operand that has a gradient; None for a number, and for integers and booleans."""


def is_array(x: Any) -> TypeGuard[Array]:
    """Whether x is an array, NumPy's or another library's; False for numbers, lists and NumPy's scalars."""
    return isinstance(x, np.ndarray) or hasattr(x, "__array_function__")


def as_array(x: Any) -> Array:
    """x itself if it is an array of another library; anything else, such as a list, as a NumPy array."""
    if hasattr(x, "__array_function__") and not isinstance(x, np.ndarray):
        return x
    return np.asarray(x)


def as_rows(x: Array) -> Array:
    """x (..., C) as (N, C), N the product of the leading sizes; a view if the memory allows it.

    Unlike ``reshape(-1, C)`` this also works for arrays without elements.
    """
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def kind_of(x: Any, wanted: bool = True) -> Kind:
    """What unbroadcast needs to know about an operand; None if it has no gradient, or if none is wanted."""
    return (x.shape, x.dtype) if wanted and is_array(x) and x.dtype.kind == "f" else None


def unbroadcast(gradient: Array, kind: Kind) -> Array | None:
    """The gradient of an operand that NumPy stretched to the shape of ``gradient``; None if ``kind`` is None.

    Broadcasting uses one element many times, y_nm = x_m, so that by the chain rule its gradient is the sum over its
    uses: dx_m = Σ_n dy_nm. Every backward of an operation that broadcasts calls this function.
    """
    if kind is None:
        return None
    shape, dtype = kind
    if gradient.shape != shape:
        new = gradient.ndim - len(shape)
        stretched = [new + i for i, size in enumerate(shape) if size == 1 and gradient.shape[new + i] != 1]
        gradient = gradient.sum(axis=(*range(new), *stretched), keepdims=True).reshape(shape)
    return gradient.astype(dtype, copy=False)


def largest(x: Array, axis: int | tuple[int, ...]) -> Array:
    """The largest x along these axes, which are kept with size 1; -inf over no elements."""
    if x.size:
        return x.max(axis=axis, keepdims=True)
    # NumPy's max takes initial=-inf for this; that of other libraries may not.
    return np.full_like(x.sum(axis=axis, keepdims=True), -np.inf)


def sums_of_runs(x: Array, starts: Array) -> Array:
    """The sum of x over its first axis, from each start to the next; starts are distinct and increase from 0."""
    if isinstance(x, np.ndarray):
        return np.add.reduceat(x, starts, axis=0)
    # Other libraries' ufuncs may have no methods. This adds in the order of reduceat: a run's first element last.
    edges = [*starts.tolist(), x.shape[0]]
    return np.stack([x[a] + x[a + 1 : b].sum(axis=0) for a, b in pairwise(edges)])


def check_bias(name: str, bias: Array | None, size: int) -> None:
    """Raises ValueError for a bias that is not of shape (size,): NumPy would broadcast others, and hide a mistake."""
    if bias is not None and bias.shape != (size,):
        raise ValueError(f"{name}: bias must have shape ({size},), not {bias.shape}")


def integer(value: Any) -> int | None:
    """value as an int, if it is one in any form: Python's, NumPy's, a 0-d array or tensor; None if it is none."""
    try:
        return operator.index(value)
    except TypeError:
        return None


def axes_of(x: Array, axis: Axis) -> tuple[int, ...]:
    """``axis`` as a tuple of axes counted from 0.

    Raises as NumPy does for an axis that x does not have, one named twice, and one that is not an integer.
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
    """The result of reducing ``axes`` of an array of ``shape``, with these axes as size 1, whether kept or dropped."""
    return as_array(y).reshape([1 if i in axes else size for i, size in enumerate(shape)])


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes this one: transpose(axes), then transpose(inverse(axes)) changes nothing."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def sizes_of(given: Sequence[Any]) -> tuple[int, ...]:
    """The integers of a call f(2, 3) or f((2, 3)), as they arrive in f's ``*given``.

    Raises TypeError if they are not integers.
    """
    try:
        if len(given) == 1 and integer(given[0]) is None:
            given = tuple(given[0])
        return tuple(operator.index(value) for value in given)
    except TypeError:
        raise TypeError(f"sizes must be integers, not {', '.join(map(str, given))}") from None
