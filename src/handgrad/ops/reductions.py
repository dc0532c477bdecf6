"""Reductions along some axes, and running sums and products. ``axis`` is one axis, several, or None for all."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from handgrad.ops.shapes import Axis, as_array, axes_of, inverse, keep_axes, largest
from handgrad.system.arrays import Array

Axes = tuple[int, ...]
Shape = tuple[int, ...]


class SumSaved(NamedTuple):
    """x's shape, and the axes summed over."""

    shape: Shape
    axes: Axes


def sum(x: Array, axis: Axis = None, keepdims: bool = False) -> tuple[Array, SumSaved]:
    """Σ x_i; 0 over no elements."""
    axes = axes_of(x, axis)
    return x.sum(axis=axes, keepdims=keepdims), SumSaved(x.shape, axes)


def sum_backward(dy: Array, saved: SumSaved) -> Array:
    """∂(Σ x_i)/∂x_i = 1: every x_i gets dy."""
    shape, axes = saved
    return np.broadcast_to(keep_axes(dy, shape, axes), shape).copy()  # BLAS cannot read a stretched view


class MeanSaved(NamedTuple):
    """x's shape, the axes averaged over, and how many numbers each mean averages."""

    shape: Shape
    axes: Axes
    number: int


def mean(x: Array, axis: Axis = None, keepdims: bool = False) -> tuple[Array, MeanSaved]:
    """Σ x_i / n; NaN over no elements."""
    axes = axes_of(x, axis)
    count = _count(x, axes)
    with np.errstate(invalid="ignore"):
        return x.sum(axis=axes, keepdims=keepdims) / x.dtype.type(count), MeanSaved(x.shape, axes, count)


def mean_backward(dy: Array, saved: MeanSaved) -> Array:
    """∂(Σ x_i / n)/∂x_i = 1/n."""
    shape, axes, count = saved
    with np.errstate(divide="ignore"):
        return np.broadcast_to(keep_axes(dy * (1 / dy.dtype.type(count)), shape, axes), shape).copy()


class VarSaved(NamedTuple):
    """x - mean x, the axes, and n - ddof in x's dtype."""

    centred: Array
    axes: Axes
    freedom: np.floating[Any]


def var(x: Array, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> tuple[Array, VarSaved]:
    """Σ (x_i - mean x)² / (n - ddof); NaN over no elements; if n ≤ ddof, a division by 0."""
    axes = axes_of(x, axis)
    count = _count(x, axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = x - x.sum(axis=axes, keepdims=True) / x.dtype.type(count)
        freedom = x.dtype.type(np.maximum(count - ddof, 0))
        y = np.square(centred).sum(axis=axes, keepdims=keepdims) / freedom
    return y, VarSaved(centred, axes, freedom)


def var_backward(dy: Array, saved: VarSaved) -> Array:
    """With d_i = x_i - μ, ∂(Σ_j d_j²)/∂x_i = 2 d_i - 2 Σ_j d_j / n; as Σ_j d_j = 0, the slope is 2 d_i / (n - ddof)."""
    centred, axes, freedom = saved
    with np.errstate(invalid="ignore", divide="ignore"):
        dx: Array = centred * (keep_axes(dy, centred.shape, axes) * (2 / freedom))
    return dx


class StdSaved(NamedTuple):
    """The output, and what var saved."""

    y: Array
    var: VarSaved


def std(x: Array, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> tuple[Array, StdSaved]:
    """√var."""
    variance, saved = var(x, axis, ddof, keepdims)
    y = np.sqrt(variance)
    return y, StdSaved(y, saved)


def std_backward(dy: Array, saved: StdSaved) -> Array:
    """y = √v gives dv = dy / 2y; at y = 0, where there is no slope, we take 0, as PyTorch does."""
    return var_backward(_divided_or_zero(dy, 2 * saved.y), saved.var)


class ProdSaved(NamedTuple):
    """The input, and the axes."""

    x: Array
    axes: Axes


def prod(x: Array, axis: Axis = None, keepdims: bool = False) -> tuple[Array, ProdSaved]:
    """Π x_i; 1 over no elements."""
    axes = axes_of(x, axis)
    return x.prod(axis=axes, keepdims=keepdims), ProdSaved(x, axes)


def prod_backward(dy: Array, saved: ProdSaved) -> Array:
    """∂(Π x_j)/∂x_i is the product of all others: those before it times those after it, so no zero divides."""
    x, axes = saved
    kept = [i for i in range(x.ndim) if i not in axes]
    moved = x.transpose([*kept, *axes])
    lines = moved.reshape(*moved.shape[: len(kept)], _count(x, axes))
    before, after = np.ones_like(lines), np.ones_like(lines)
    np.cumprod(lines[..., :-1], axis=-1, out=before[..., 1:])
    after[..., :-1] = np.cumprod(lines[..., :0:-1], axis=-1)[..., ::-1]
    others = (before * after).reshape(moved.shape).transpose(inverse([*kept, *axes]))
    dx: Array = keep_axes(dy, x.shape, axes) * others
    return dx


class ExtremeSaved(NamedTuple):
    """Input and output of max or min, and the axes."""

    x: Array
    y: Array
    axes: Axes


def max(x: Array, axis: Axis = None, keepdims: bool = False) -> tuple[Array, ExtremeSaved]:
    """The largest x_i; NaN if one is NaN.

    Raises ValueError over no elements.
    """
    axes = axes_of(x, axis)
    y = as_array(x.max(axis=axes, keepdims=keepdims)) if axes else x.copy()
    return y, ExtremeSaved(x, y, axes)


def max_backward(dy: Array, saved: ExtremeSaved) -> Array:
    """The slope is 1 for the largest, 0 for the others; several that tie share it evenly."""
    x, y, axes = saved
    return _to_those_equal(dy, x, y, axes)


def min(x: Array, axis: Axis = None, keepdims: bool = False) -> tuple[Array, ExtremeSaved]:
    """The smallest x_i; NaN if one is NaN.

    Raises ValueError over no elements.
    """
    axes = axes_of(x, axis)
    y = as_array(x.min(axis=axes, keepdims=keepdims)) if axes else x.copy()
    return y, ExtremeSaved(x, y, axes)


def min_backward(dy: Array, saved: ExtremeSaved) -> Array:
    """The slope is 1 for the smallest, 0 for the others; several that tie share it evenly."""
    x, y, axes = saved
    return _to_those_equal(dy, x, y, axes)


class NormSaved(NamedTuple):
    """Input and output, the axes, and which norm."""

    x: Array
    y: Array
    axes: Axes
    ord: float


def norm(x: Array, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> tuple[Array, NormSaved]:
    """(Σ |x_i|^ord)^(1/ord); ord ∞ is the largest |x_i|, -∞ the smallest; 0 counts the non-zero x_i."""
    axes = axes_of(x, axis)
    size = np.absolute(x)
    if ord in (np.inf, -np.inf):
        reduce = np.max if ord > 0 else np.min
        y = reduce(size, axis=axes, keepdims=keepdims)
    elif ord == 0:
        y = (size != 0).sum(axis=axes, keepdims=keepdims).astype(x.dtype)
    elif ord == 1:
        y = size.sum(axis=axes, keepdims=keepdims)
    elif ord == 2:
        y = np.sqrt(np.square(size).sum(axis=axes, keepdims=keepdims))
    else:
        y = (size**ord).sum(axis=axes, keepdims=keepdims) ** (1 / ord)
    y = as_array(y)
    return y, NormSaved(x, y, axes, ord)


def norm_backward(dy: Array, saved: NormSaved) -> Array:
    """y^p = Σ |x_i|^p gives p y^(p-1) ∂y/∂x_i = p |x_i|^(p-1) sign x_i, so the slope is sign x_i · (|x_i| / y)^(p-1).

    At y = 0 we take 0. For p = ±∞ the largest (smallest) elements share the slope evenly; for p = 0 it is 0.
    """
    x, y, axes, ord = saved
    if ord == 0:
        return np.zeros_like(x)
    if ord in (np.inf, -np.inf):
        return as_array(_to_those_equal(dy, np.absolute(x), y, axes) * np.sign(x))
    y = keep_axes(y, x.shape, axes)
    if ord == 2:
        return np.multiply(x, _divided_or_zero(keep_axes(dy, x.shape, axes), y))
    share = np.sign(x) if ord == 1 else np.sign(x) * _divided_or_zero(np.absolute(x), y) ** (ord - 1)
    return np.where(np.logical_or(x == 0, y == 0), 0, keep_axes(dy, x.shape, axes) * share).astype(x.dtype, copy=False)


class LogsumexpSaved(NamedTuple):
    """The input, the output with the axes kept, and the axes."""

    x: Array
    y: Array
    axes: Axes


def logsumexp(x: Array, axis: Axis = None, keepdims: bool = False) -> tuple[Array, LogsumexpSaved]:
    """log Σ exp(x_i). The largest x is subtracted first, so that exp cannot overflow; -∞ over no elements."""
    axes = axes_of(x, axis)
    top = largest(x, axes)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        y = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    saved = LogsumexpSaved(x, y, axes)
    return y if keepdims else y.reshape([n for i, n in enumerate(y.shape) if i not in axes]), saved


def logsumexp_backward(dy: Array, saved: LogsumexpSaved) -> Array:
    """∂ log Σ e^x_j / ∂x_i = e^x_i / Σ e^x_j = exp(x_i - y): the softmax."""
    x, y, axes = saved
    with np.errstate(invalid="ignore"):  # at infinities there is no slope: NaN
        weights = np.exp(x - keep_axes(y, x.shape, axes))
    dx: Array = keep_axes(dy, x.shape, axes) * weights
    return dx


class CumsumSaved(NamedTuple):
    """x's shape, and the axis; None if x was flattened."""

    shape: Shape
    axis: int | None


def cumsum(x: Array, axis: int | None = None) -> tuple[Array, CumsumSaved]:
    """y_i = x_1 + … + x_i; axis None flattens x first."""
    return np.cumsum(x, axis=axis, dtype=x.dtype), CumsumSaved(x.shape, axis)


def cumsum_backward(dy: Array, saved: CumsumSaved) -> Array:
    """x_i is in y_i and in all that come after: dx_i = dy_i + dy_(i+1) + …, a running sum from the end."""
    shape, axis = saved
    return _from_the_end(np.cumsum, dy, axis or 0).reshape(shape)


class CumprodSaved(NamedTuple):
    """Input and output, and the axis; None if x was flattened."""

    x: Array
    y: Array
    axis: int | None


def cumprod(x: Array, axis: int | None = None) -> tuple[Array, CumprodSaved]:
    """y_i = x_1 · … · x_i; axis None flattens x first."""
    y = np.cumprod(x, axis=axis, dtype=x.dtype)
    return y, CumprodSaved(x, y, axis)


def cumprod_backward(dy: Array, saved: CumprodSaved) -> Array:
    """∂y_k/∂x_i is, for k ≥ i, the product of x_1 … x_k without x_i, which is y_k / x_i if x_i is not zero:
    dx_i = Σ_{k≥i} dy_k y_k / x_i. If some x_i is zero, the products without x_i are computed for each i.
    """
    x, y, axis = saved
    lines, dy = (x.reshape(-1), dy) if axis is None else (np.moveaxis(x, axis, -1), np.moveaxis(dy, axis, -1))
    if np.all(x != 0):
        y = y if axis is None else np.moveaxis(y, axis, -1)
        dx = _from_the_end(np.cumsum, dy * y, -1) / lines
    else:
        dx = np.empty_like(lines)
        for i in range(lines.shape[-1]):
            without = lines.copy()
            without[..., i] = 1
            dx[..., i] = (dy * np.cumprod(without, axis=-1))[..., i:].sum(axis=-1)
    return as_array(dx.reshape(x.shape) if axis is None else np.moveaxis(dx, -1, axis))


def _count(x: Array, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[a] for a in axes)


def _to_those_equal(dy: Array, x: Array, y: Array, axes: tuple[int, ...]) -> Array:
    """Shares dy evenly among the x that equal y."""
    chosen = x == keep_axes(y, x.shape, axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = keep_axes(dy, x.shape, axes) / chosen.sum(axis=axes, keepdims=True).astype(x.dtype)
        return as_array(chosen * share)


def _divided_or_zero(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b == 0, 0, np.divide(a, b)).astype(as_array(a).dtype, copy=False)


def _from_the_end(running: Callable[..., Array], x: Array, axis: int) -> Array:
    return np.flip(running(np.flip(x, axis), axis=axis), axis)
