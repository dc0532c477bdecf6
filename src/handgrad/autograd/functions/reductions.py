"""Reductions over one axis, several, or (None) all. ``keepdims`` keeps the reduced axes, with size 1.

The axis may be called ``dim``, and keepdims ``keepdim``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.autograd.operands import as_tensor, either, floating, without_gradient
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.ops.shapes import Axis, axes_of
from handgrad.system.arrays import Array


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Tensor:
    """Σ x_i."""
    return apply(ops.sum, as_tensor(x), axis=either(axis, dim), keepdims=keepdims or keepdim)


def mean(
    x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False
) -> Tensor:
    """Σ x_i / n."""
    return apply(ops.mean, floating(x), axis=either(axis, dim), keepdims=keepdims or keepdim)


def var(
    x: TensorLike,
    axis: Axis = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    dim: Axis = None,
    keepdim: bool = False,
) -> Tensor:
    """Σ (x_i - mean)² / (n - ddof); ddof is 0, as in NumPy."""
    return apply(ops.var, floating(x), axis=either(axis, dim), ddof=ddof, keepdims=keepdims or keepdim)


def std(
    x: TensorLike,
    axis: Axis = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    dim: Axis = None,
    keepdim: bool = False,
) -> Tensor:
    """√var."""
    return apply(ops.std, floating(x), axis=either(axis, dim), ddof=ddof, keepdims=keepdims or keepdim)


def prod(
    x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False
) -> Tensor:
    """Π x_i."""
    return apply(ops.prod, as_tensor(x), axis=either(axis, dim), keepdims=keepdims or keepdim)


def max(x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Tensor:
    """The largest x_i, without its index; elements that tie share the gradient evenly."""
    return apply(ops.max, as_tensor(x), axis=either(axis, dim), keepdims=keepdims or keepdim)


def min(x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Tensor:
    """The smallest x_i, without its index; elements that tie share the gradient evenly."""
    return apply(ops.min, as_tensor(x), axis=either(axis, dim), keepdims=keepdims or keepdim)


def norm(
    x: TensorLike,
    ord: float | str | None = None,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    p: float | str | None = None,
    dim: Axis = None,
    keepdim: bool = False,
) -> Tensor:
    """(Σ |x_i|^ord)^(1/ord) along an axis; without an ord √(Σ x_i²), over one axis, several, or all.

    Raises ValueError for an ord over more than one axis, which in NumPy is a norm of matrices.
    """
    tensor, axis, ord = floating(x), either(axis, dim), ord if p is None else p
    if isinstance(ord, str):
        if ord != "fro":
            raise ValueError(
                f'norm: ord must be a number, None or "fro", not {ord!r}; norms of matrices are not supported'
            )
        ord = None  # the root of the sum of squares
    if ord is not None and len(axes_of(tensor.data, axis)) > 1:
        raise ValueError(
            f"norm: ord {ord} needs one axis, in a tensor of shape {tensor.shape}; matrix norms are not supported"
        )
    return apply(ops.norm, tensor, ord=2 if ord is None else ord, axis=axis, keepdims=keepdims or keepdim)


def logsumexp(
    x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False
) -> Tensor:
    """log Σ exp(x_i), computed so that it cannot overflow."""
    return apply(ops.logsumexp, floating(x), axis=either(axis, dim), keepdims=keepdims or keepdim)


def cumsum(x: TensorLike, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """Running sums along an axis; None flattens x first."""
    return apply(ops.cumsum, _counting(x), axis=either(axis, dim))


def cumprod(x: TensorLike, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """Running products along an axis; None flattens x first."""
    return apply(ops.cumprod, _counting(x), axis=either(axis, dim))


amax = max
"""Another name for ``max``, PyTorch's."""
amin = min
"""Another name for ``min``, PyTorch's."""


# -- without a gradient


def argmax(
    x: TensorLike, axis: int | None = None, keepdims: bool = False, *, dim: int | None = None, keepdim: bool = False
) -> Tensor:
    """The index of the largest element, the first of several; axis None flattens x first."""
    return without_gradient(np.argmax(as_tensor(x).data, axis=either(axis, dim), keepdims=keepdims or keepdim))


def argmin(
    x: TensorLike, axis: int | None = None, keepdims: bool = False, *, dim: int | None = None, keepdim: bool = False
) -> Tensor:
    """The index of the smallest element, the first of several; axis None flattens x first."""
    return without_gradient(np.argmin(as_tensor(x).data, axis=either(axis, dim), keepdims=keepdims or keepdim))


def all(x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true or not zero."""
    return without_gradient(_over(np.all, x, either(axis, dim), keepdims or keepdim))


def any(x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Tensor:
    """Whether at least one element is true or not zero."""
    return without_gradient(_over(np.any, x, either(axis, dim), keepdims or keepdim))


def _counting(x: TensorLike) -> Tensor:
    """Integers and booleans in int64, so that running sums of them do not overflow, as in NumPy."""
    tensor = as_tensor(x)
    return tensor if tensor.dtype.kind == "f" else tensor.astype(np.int64)


def _over(function: Callable[..., Any], x: TensorLike, axis: Axis, keepdims: bool) -> Array:
    array = as_tensor(x).data
    return function(array, axis=axes_of(array, axis), keepdims=keepdims)
