"""Many numbers to one along some axes, or to as many running ones. ``axis`` is an axis, several, or None for all."""

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.arrays import Array
from handgrad.ops.shapes import Axis, axes_of, keep_axes

Result = tuple[Array, tuple[Any, ...]]
Saved = tuple[Any, ...]


def sum(x: Array, axis: Axis = None, keepdims: bool = False) -> Result:
    """Σ x_i; 0 over no elements."""
    axes = axes_of(x, axis)
    return x.sum(axis=axes, keepdims=keepdims), (x.shape, axes)


def sum_backward(dy: Array, saved: Saved) -> Array:
    """∂(Σ x_i)/∂x_i = 1: every x_i gets dy."""
    shape, axes = saved
    return np.broadcast_to(keep_axes(dy, shape, axes), shape).copy()  # which BLAS can read, unlike a stretched view


def mean(x: Array, axis: Axis = None, keepdims: bool = False) -> Result:
    """Σ x_i / n; NaN over no elements."""
    axes = axes_of(x, axis)
    count = _count(x, axes)
    with np.errstate(invalid="ignore"):
        return x.sum(axis=axes, keepdims=keepdims) / x.dtype.type(count), (x.shape, axes, count)


def mean_backward(dy: Array, saved: Saved) -> Array:
    """∂(Σ x_i / n)/∂x_i = 1/n."""
    shape, axes, count = saved
    with np.errstate(divide="ignore"):
        return np.broadcast_to(keep_axes(dy * (1 / np.asarray(count, dy.dtype)), shape, axes), shape).copy()


def var(x: Array, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Result:
    """Σ (x_i - mean x)² / (n - ddof); NaN over no elements, and for n ≤ ddof the quotient by 0."""
    axes = axes_of(x, axis)
    count = _count(x, axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = x - x.sum(axis=axes, keepdims=True) / x.dtype.type(count)
        freedom = x.dtype.type(np.maximum(count - ddof, 0))
        y = np.square(centred).sum(axis=axes, keepdims=keepdims) / freedom
    return y, (centred, axes, freedom)


def var_backward(dy: Array, saved: Saved) -> Array:
    """With d_i = x_i - μ, ∂(Σ_j d_j²)/∂x_i = 2 d_i - 2 Σ_j d_j / n; as Σ_j d_j = 0, the slope is 2 d_i / (n - ddof)."""
    centred, axes, freedom = saved
    with np.errstate(invalid="ignore", divide="ignore"):
        dx: Array = centred * (keep_axes(dy, centred.shape, axes) * (2 / freedom))
    return dx


def std(x: Array, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Result:
    """√var."""
    variance, saved = var(x, axis, ddof, keepdims)
    y = np.sqrt(variance)
    return y, (y, saved)


def std_backward(dy: Array, saved: Saved) -> Array:
    """y = √v gives dv = dy / 2y; at y = 0, a point without a slope, 0 is taken, as in PyTorch."""
    y, var_saved = saved
    return var_backward(_divided_or_zero(dy, 2 * y), var_saved)


def prod(x: Array, axis: Axis = None, keepdims: bool = False) -> Result:
    """Π x_i; 1 over no elements."""
    axes = axes_of(x, axis)
    return x.prod(axis=axes, keepdims=keepdims), (x, axes)


def prod_backward(dy: Array, saved: Saved) -> Array:
    """∂(Π x_j)/∂x_i is the product of all others: of those before it and those after it, so a zero divides nothing."""
    x, axes = saved
    kept = [i for i in range(x.ndim) if i not in axes]
    moved = x.transpose([*kept, *axes])
    lines = moved.reshape(*moved.shape[: len(kept)], _count(x, axes))
    before, after = np.ones_like(lines), np.ones_like(lines)
    np.cumprod(lines[..., :-1], axis=-1, out=before[..., 1:])
    after[..., :-1] = np.cumprod(lines[..., :0:-1], axis=-1)[..., ::-1]
    others = (before * after).reshape(moved.shape).transpose(np.argsort([*kept, *axes]))
    dx: Array = keep_axes(dy, x.shape, axes) * others
    return dx


def max(x: Array, axis: Axis = None, keepdims: bool = False) -> Result:
    """The largest x_i; NaN where one is.

    Raises ValueError over no elements.
    """
    axes = axes_of(x, axis)
    y = np.asarray(x.max(axis=axes, keepdims=keepdims)) if axes else x.copy()
    return y, (x, y, axes)


def max_backward(dy: Array, saved: Saved) -> Array:
    """The slope is 1 for the largest, 0 for the others; several that tie share it evenly."""
    x, y, axes = saved
    return _to_those_equal(dy, x, y, axes)


def min(x: Array, axis: Axis = None, keepdims: bool = False) -> Result:
    """The smallest x_i; NaN where one is.

    Raises ValueError over no elements.
    """
    axes = axes_of(x, axis)
    y = np.asarray(x.min(axis=axes, keepdims=keepdims)) if axes else x.copy()
    return y, (x, y, axes)


def min_backward(dy: Array, saved: Saved) -> Array:
    """The slope is 1 for the smallest, 0 for the others; several that tie share it evenly."""
    x, y, axes = saved
    return _to_those_equal(dy, x, y, axes)


def norm(x: Array, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Result:
    """(Σ |x_i|^ord)^(1/ord); ord ∞ is the largest |x_i|, -∞ the smallest, 0 counts those that are not zero."""
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
    return np.asarray(y), (x, np.asarray(y), axes, ord)


def norm_backward(dy: Array, saved: Saved) -> Array:
    """y^p = Σ |x_i|^p gives p y^(p-1) ∂y/∂x_i = p |x_i|^(p-1) sign x_i, so the slope is sign x_i · (|x_i| / y)^(p-1).

    At y = 0 it is taken as 0. For p = ±∞ only the largest (smallest) count, and share evenly; for p = 0 none do.
    """
    x, y, axes, ord = saved
    if ord == 0:
        return np.zeros_like(x)
    if ord in (np.inf, -np.inf):
        return np.asarray(_to_those_equal(dy, np.absolute(x), y, axes) * np.sign(x))
    y = keep_axes(y, x.shape, axes)
    if ord == 2:
        return np.multiply(x, _divided_or_zero(keep_axes(dy, x.shape, axes), y))
    share = np.sign(x) if ord == 1 else np.sign(x) * _divided_or_zero(np.absolute(x), y) ** (ord - 1)
    return np.where(np.logical_or(x == 0, y == 0), 0, keep_axes(dy, x.shape, axes) * share).astype(x.dtype, copy=False)


def logsumexp(x: Array, axis: Axis = None, keepdims: bool = False) -> Result:
    """log Σ exp(x_i). The largest x is taken out first, so that exp cannot overflow; -∞ over no elements."""
    axes = axes_of(x, axis)
    largest = x.max(axis=axes, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)
    with np.errstate(divide="ignore"):
        y = np.log(np.exp(x - largest).sum(axis=axes, keepdims=True)) + largest
    return y if keepdims else y.reshape([n for i, n in enumerate(y.shape) if i not in axes]), (x, y, axes)


def logsumexp_backward(dy: Array, saved: Saved) -> Array:
    """∂ log Σ e^x_j / ∂x_i = e^x_i / Σ e^x_j = exp(x_i - y): the softmax."""
    x, y, axes = saved
    with np.errstate(invalid="ignore"):  # between infinities there is no slope: NaN
        weights = np.exp(x - keep_axes(y, x.shape, axes))
    dx: Array = keep_axes(dy, x.shape, axes) * weights
    return dx


def cumsum(x: Array, axis: int | None = None) -> Result:
    """y_i = x_1 + … + x_i; with axis None of the flattened x."""
    return np.cumsum(x, axis=axis, dtype=x.dtype), (x.shape, axis)


def cumsum_backward(dy: Array, saved: Saved) -> Array:
    """x_i is in y_i and in all that come after: dx_i = dy_i + dy_(i+1) + …, a running sum from the end."""
    shape, axis = saved
    return _from_the_end(np.cumsum, dy, axis or 0).reshape(shape)


def cumprod(x: Array, axis: int | None = None) -> Result:
    """y_i = x_1 · … · x_i; with axis None of the flattened x."""
    y = np.cumprod(x, axis=axis, dtype=x.dtype)
    return y, (x, y, axis)


def cumprod_backward(dy: Array, saved: Saved) -> Array:
    """∂y_k/∂x_i is, for k ≥ i, the product of x_1 … x_k without x_i, which is y_k / x_i where x_i is not zero:
    dx_i = Σ_{k≥i} dy_k y_k / x_i. Where there is a zero, the products are made without x_i, for each i.
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
    return np.asarray(dx.reshape(x.shape) if axis is None else np.moveaxis(dx, -1, axis))


def _count(x: Array, axes: tuple[int, ...]) -> int:
    return int(np.prod([x.shape[a] for a in axes], dtype=np.int64))


def _to_those_equal(dy: Array, x: Array, y: Array, axes: tuple[int, ...]) -> Array:
    """dy to the x that equal y, in even shares."""
    chosen = x == keep_axes(y, x.shape, axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = keep_axes(dy, x.shape, axes) / chosen.sum(axis=axes, keepdims=True).astype(x.dtype)
        return np.asarray(chosen * share)


def _divided_or_zero(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b == 0, 0, np.divide(a, b)).astype(np.result_type(a), copy=False)


def _from_the_end(running: Callable[..., Array], x: Array, axis: int) -> Array:
    return np.flip(running(np.flip(x, axis), axis=axis), axis)
