"""Operations that move, repeat or drop elements. The backward moves each gradient to where its element came from.

Outputs are views of the input if NumPy gives views.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from handgrad.ops.shapes import Kind, as_array, inverse, is_array, kind_of, sums_of_runs, unbroadcast
from handgrad.system.arrays import Array

Shape = tuple[int, ...]


class ReshapeSaved(NamedTuple):
    """The shape that x had."""

    shape: Shape


def reshape(x: Array, shape: Sequence[int]) -> tuple[Array, ReshapeSaved]:
    """The same elements in the same order, in another shape; one size may be -1."""
    return x.reshape(shape), ReshapeSaved(x.shape)


def reshape_backward(dy: Array, saved: ReshapeSaved) -> Array:
    """dy in the shape that x had."""
    return dy.reshape(saved.shape)


def copy(x: Array) -> tuple[Array, tuple[()]]:
    """The same values in new memory, in order."""
    return x.copy(), ()


def copy_backward(dy: Array, saved: tuple[()]) -> Array:
    """The same values: dy."""
    return dy


class PermuteSaved(NamedTuple):
    """The permutation, and how many axes x had."""

    axes: tuple[int, ...]
    ndim: int


def permute(x: Array, axes: Sequence[int]) -> tuple[Array, PermuteSaved]:
    """Axis i of the output is axis axes[i] of x."""
    return x.transpose(axes), PermuteSaved(tuple(axes), x.ndim)


def permute_backward(dy: Array, saved: PermuteSaved) -> Array:
    """The inverse permutation."""
    axes, ndim = saved
    return dy.transpose(inverse([a % ndim for a in axes]))


class BroadcastToSaved(NamedTuple):
    """Shape and dtype of x."""

    x: Kind


def broadcast_to(x: Array, shape: Sequence[int]) -> tuple[Array, BroadcastToSaved]:
    """x stretched to a shape by NumPy's rules; a read-only view."""
    return np.broadcast_to(x, shape), BroadcastToSaved(kind_of(x))


def broadcast_to_backward(dy: Array, saved: BroadcastToSaved) -> Array | None:
    """Each element gets the sum over its uses."""
    return unbroadcast(dy, saved.x)


class RepeatSaved(NamedTuple):
    """x's shape, how often each element of the axis is repeated, and the axis; None if x was flattened."""

    shape: Shape
    counts: Array
    axis: int | None


def repeat(x: Array, repeats: int | Sequence[int], axis: int | None = None) -> tuple[Array, RepeatSaved]:
    """Repeats elements along an axis; ``repeats`` is one count, or one for each element. None flattens x first."""
    size = x.size if axis is None else x.shape[axis]
    counts = np.broadcast_to(np.asarray(repeats), (size,))
    y = np.repeat(x, counts if isinstance(x, np.ndarray) else counts.tolist(), axis=axis)
    return y, RepeatSaved(x.shape, counts, axis)


def repeat_backward(dy: Array, saved: RepeatSaved) -> Array:
    """An element repeated n times gets the sum of its n gradients."""
    shape, counts, axis = saved
    along = 0 if axis is None else axis
    line_shape = (counts.size,) if axis is None else shape
    dx = np.zeros(line_shape, dy.dtype, like=dy)
    used = np.flatnonzero(counts)  # sums_of_runs takes no empty runs
    if used.size and dy.size:
        starts = (np.cumsum(counts) - counts)[used]
        np.moveaxis(dx, along, 0)[np.asarray(used, like=dy)] = sums_of_runs(np.moveaxis(dy, along, 0), starts)
    return dx.reshape(shape)


class ConcatenateSaved(NamedTuple):
    """The shape of each array, and the axis; None if they were flattened."""

    shapes: tuple[Shape, ...]
    axis: int | None


def concatenate(*arrays: Array, axis: int | None = 0) -> tuple[Array, ConcatenateSaved]:
    """Joins arrays along an existing axis; None flattens them first."""
    y = np.concatenate(arrays, axis=axis)
    return y, ConcatenateSaved(tuple(a.shape for a in arrays), axis)


def concatenate_backward(dy: Array, saved: ConcatenateSaved) -> tuple[Array, ...]:
    """dy, cut where the arrays were joined."""
    shapes, axis = saved
    along = 0 if axis is None else axis
    sizes = [math.prod(shape) if axis is None else shape[axis] for shape in shapes]
    parts = np.split(dy, list(accumulate(sizes))[:-1], axis=along)
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


class StackSaved(NamedTuple):
    """The new axis."""

    axis: int


def stack(*arrays: Array, axis: int = 0) -> tuple[Array, StackSaved]:
    """Joins arrays of one shape along a new axis."""
    return np.stack(arrays, axis=axis), StackSaved(axis)


def stack_backward(dy: Array, saved: StackSaved) -> tuple[Array, ...]:
    """dy, taken apart along the new axis."""
    return tuple(np.moveaxis(dy, saved.axis, 0))


class SplitSaved(NamedTuple):
    """The shape of each piece, their dtype, and the axis."""

    shapes: tuple[Shape, ...]
    dtype: np.dtype[Any]
    axis: int


def split(x: Array, sizes: Sequence[int], axis: int = 0) -> tuple[tuple[Array, ...], SplitSaved]:
    """Cuts x along an axis into pieces of these sizes: several outputs.

    Raises ValueError if the sizes do not add up to that of the axis.
    """
    if sum(sizes) != x.shape[axis] or any(size < 0 for size in sizes):
        raise ValueError(f"split: sizes {list(sizes)} do not add up to {x.shape[axis]}, the size of axis {axis}")
    pieces = tuple(np.split(x, list(accumulate(sizes))[:-1], axis=axis)) if len(sizes) else ()
    return pieces, SplitSaved(tuple(piece.shape for piece in pieces), x.dtype, axis)


def split_backward(d_pieces: Sequence[Array | None], saved: SplitSaved) -> Array:
    """The gradients, joined again; a piece that did not reach the loss (None) counts as zeros."""
    shapes, dtype, axis = saved
    some = next((d for d in d_pieces if d is not None), None)
    parts = [np.zeros(s, dtype, like=some) if d is None else d for d, s in zip(d_pieces, shapes, strict=True)]
    return np.concatenate(parts, axis=axis)


class DiagonalSaved(NamedTuple):
    """x's shape and dtype, and the options."""

    shape: Shape
    dtype: np.dtype[Any]
    offset: int
    axis1: int
    axis2: int


def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> tuple[Array, DiagonalSaved]:
    """The elements whose indices on axis1 and axis2 differ by offset, along a new last axis."""
    return np.diagonal(x, offset, axis1, axis2), DiagonalSaved(x.shape, x.dtype, offset, axis1, axis2)


def diagonal_backward(dy: Array, saved: DiagonalSaved) -> Array:
    """dy on the diagonal, zero elsewhere."""
    shape, dtype, offset, axis1, axis2 = saved
    dx = np.zeros(shape, dtype, like=dy)
    rows = np.arange(dy.shape[-1], like=dy) + max(-offset, 0)
    np.moveaxis(dx, (axis1, axis2), (0, 1))[rows, rows + offset] = np.moveaxis(dy, -1, 0)
    return dx


class TriangleSaved(NamedTuple):
    """The diagonal at which triu or tril cuts."""

    k: int


def triu(x: Array, k: int = 0) -> tuple[Array, TriangleSaved]:
    """x with zeros below diagonal k of the last two axes.

    Raises ValueError if x has fewer than two.
    """
    if x.ndim < 2:
        raise ValueError(f"triu: x must have at least two axes, not shape {x.shape}")
    return np.triu(x, k), TriangleSaved(k)


def triu_backward(dy: Array, saved: TriangleSaved) -> Array:
    """What was made zero no longer reaches the loss."""
    return np.triu(dy, saved.k)


def tril(x: Array, k: int = 0) -> tuple[Array, TriangleSaved]:
    """x with zeros above diagonal k of the last two axes.

    Raises ValueError if x has fewer than two.
    """
    if x.ndim < 2:
        raise ValueError(f"tril: x must have at least two axes, not shape {x.shape}")
    return np.tril(x, k), TriangleSaved(k)


def tril_backward(dy: Array, saved: TriangleSaved) -> Array:
    """What was made zero no longer reaches the loss."""
    return np.tril(dy, saved.k)


class GetitemSaved(NamedTuple):
    """x's shape and dtype, and the index."""

    shape: Shape
    dtype: np.dtype[Any]
    index: Any


def getitem(x: Array, index: Any) -> tuple[Array, GetitemSaved]:
    """x[index] with NumPy's basic, integer and boolean indices; a single element is an array too, and a view."""
    y = x[index]
    if not is_array(y):
        y = x[(*(index if isinstance(index, tuple) else (index,)), ...)]
    return y, GetitemSaved(x.shape, x.dtype, index)


def getitem_backward(dy: Array, saved: GetitemSaved) -> Array:
    """dx_i = Σ dy_j over all j that were taken from i: zero for an element not taken, the sum for one taken twice."""
    shape, dtype, index = saved
    dx = np.zeros(shape, dtype, like=dy)
    if _may_repeat(index):
        _add_at(dx, index, dy)
    else:
        dx[index] = dy
    return dx


class GatherSaved(NamedTuple):
    """x's shape and dtype, and the full index of each element that was taken."""

    shape: Shape
    dtype: np.dtype[Any]
    places: tuple[Array, ...]


def gather(x: Array, *, indices: Array, axis: int) -> tuple[Array, GatherSaved]:
    """Along one axis, the elements that ``indices`` names; on the others, each result keeps its own place.

    For axis 1 of three, y_ijk = x_i,indices_ijk,k. indices are integers that count from the end if negative; on the
    other axes they are not longer than x. Returns y in the shape of indices.

    Raises ValueError if the shapes do not fit, IndexError for an index outside the axis.
    """
    others = [i for i in range(x.ndim) if i != axis]
    if indices.ndim != x.ndim or any(indices.shape[i] > x.shape[i] for i in others):
        raise ValueError(f"gather: indices of shape {indices.shape} do not fit x of shape {x.shape} along axis {axis}")
    places = tuple(
        indices if i == axis else np.arange(n, like=indices).reshape([n if i == j else 1 for j in range(x.ndim)])
        for i, n in enumerate(indices.shape)
    )
    return as_array(x[places]), GatherSaved(x.shape, x.dtype, places)


def gather_backward(dy: Array, saved: GatherSaved) -> Array:
    """An element's gradient is the sum over the places that took it: dx_i,a,k = Σ dy_ijk over all j with index a."""
    shape, dtype, places = saved
    dx = np.zeros(shape, dtype, like=dy)
    _add_at(dx, places, dy)
    return dx


class SetitemSaved(NamedTuple):
    """x's shape, the index, and shape and dtype of the value."""

    shape: Shape
    index: Any
    value: Kind


def setitem(x: Array, value: Array | float, index: Any) -> tuple[Array, SetitemSaved]:
    """A copy of x with ``value`` at x[index]; if the index names an element twice, the value written last stays."""
    y = x.copy()
    y[index] = value
    return y, SetitemSaved(x.shape, index, kind_of(value))


def setitem_backward(dy: Array, saved: SetitemSaved) -> tuple[Array, Array | None]:
    """An overwritten element no longer reaches the loss; the value gets the gradient of the elements it replaced."""
    shape, index, kind = saved
    dx = dy.copy()
    dx[index] = 0
    if kind is None:
        return dx, None
    d_value = as_array(dy[index])
    if _may_repeat(index):
        number = np.arange(d_value.size, like=dy).reshape(d_value.shape)
        stayed = np.full(shape, -1, like=dy)
        stayed[index] = number
        d_value = np.where(stayed[index] == number, d_value, 0)
    # A value may have more leading axes, of size 1, than the place it is written to.
    extra = max(len(kind[0]) - d_value.ndim, 0)
    return dx, unbroadcast(d_value.reshape((1,) * extra + d_value.shape), kind)


class ViewOfSaved(NamedTuple):
    """x's shape and dtype, and the positions."""

    shape: Shape
    dtype: np.dtype[Any]
    positions: Array


def view_of(x: Array, positions: Array) -> tuple[Array, ViewOfSaved]:
    """A copy of the elements at these positions, all different, of the flattened x."""
    return x.reshape(-1)[positions], ViewOfSaved(x.shape, x.dtype, positions)


def view_of_backward(dy: Array, saved: ViewOfSaved) -> Array:
    """Each gradient at its position, zero elsewhere."""
    shape, dtype, positions = saved
    dx: Array = np.zeros(math.prod(shape), dtype, like=dy)
    dx[positions] = dy
    return dx.reshape(shape)


class WithViewSaved(NamedTuple):
    """x's shape, and the positions."""

    shape: Shape
    positions: Array


def with_view(x: Array, value: Array, positions: Array) -> tuple[Array, WithViewSaved]:
    """A copy of x with ``value`` at these positions, all different, of the flattened array."""
    y = x.copy().reshape(-1)
    y[positions] = value
    return y.reshape(x.shape), WithViewSaved(x.shape, positions)


def with_view_backward(dy: Array, saved: WithViewSaved) -> tuple[Array, Array]:
    """An overwritten element no longer reaches the loss; the value in its place does."""
    shape, positions = saved
    dx = dy.copy().reshape(-1)
    d_value = dx[positions]
    dx[positions] = 0
    return dx.reshape(shape), d_value


def _may_repeat(index: Any) -> bool:
    """Whether the index may name an element twice; only integer arrays can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any((isinstance(part, list) or is_array(part)) and as_array(part).dtype.kind in "iu" for part in parts)


def _add_at(dx: Array, index: Any, dy: Array) -> None:
    """dx[index] += dy, but an element that the index names several times gets the sum of all its dy."""
    if isinstance(dx, np.ndarray):
        np.add.at(dx, index, dy)
        return
    # Other libraries' ufuncs may have no methods. In each round, every element gets the first dy that is left for it.
    flat, dy = dx.reshape(-1), dy.reshape(-1)
    left = np.arange(dx.size, like=dx).reshape(dx.shape)[index].reshape(-1)
    while left.size:
        positions, first = np.unique(left, return_index=True)
        flat[positions] += dy[first]
        later = np.ones_like(left, dtype=bool)
        later[first] = False
        left, dy = left[later], dy[later]
