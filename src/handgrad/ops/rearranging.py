"""Elements moved, repeated or left out; none computed with. The backward moves each gradient back where it came from.

Outputs are views of the input where NumPy gives views.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handgrad.arrays import Array
from handgrad.ops.shapes import kind_of, unbroadcast

Result = tuple[Array, tuple[Any, ...]]
Saved = tuple[Any, ...]


def reshape(x: Array, shape: Sequence[int]) -> Result:
    """The same elements in the same order, in another shape; one size may be -1."""
    return x.reshape(shape), (x.shape,)


def reshape_backward(dy: Array, saved: Saved) -> Array:
    """Back into the shape that x had."""
    (shape,) = saved
    return dy.reshape(shape)


def copy(x: Array) -> Result:
    """The same values in memory of their own, in order."""
    return x.copy(), ()


def copy_backward(dy: Array, saved: Saved) -> Array:
    """The same values: dy."""
    return dy


def permute(x: Array, axes: Sequence[int]) -> Result:
    """Axis i of the output is axis axes[i] of x."""
    return x.transpose(axes), (tuple(axes), x.ndim)


def permute_backward(dy: Array, saved: Saved) -> Array:
    """The inverse permutation."""
    axes, ndim = saved
    return dy.transpose(np.argsort([a % ndim for a in axes]))


def broadcast_to(x: Array, shape: Sequence[int]) -> Result:
    """x stretched to a shape by NumPy's rules; a view that cannot be written to."""
    return np.broadcast_to(x, shape), (kind_of(x),)


def broadcast_to_backward(dy: Array, saved: Saved) -> Array | None:
    """The sum over all uses of each element."""
    return unbroadcast(dy, saved[0])


def repeat(x: Array, repeats: int | Sequence[int], axis: int | None = None) -> Result:
    """Each element of an axis (None: of the flattened x) ``repeats`` times, or each its own number of times."""
    size = x.size if axis is None else x.shape[axis]
    counts = np.broadcast_to(np.asarray(repeats), (size,))
    return np.repeat(x, counts, axis=axis), (x.shape, counts, axis)


def repeat_backward(dy: Array, saved: Saved) -> Array:
    """An element used n times gets the sum of n gradients."""
    shape, counts, axis = saved
    along = 0 if axis is None else axis
    line_shape = (counts.size,) if axis is None else shape
    dx = np.zeros(line_shape, dy.dtype)
    used = np.flatnonzero(counts)  # reduceat has no empty segments
    if used.size and dy.size:
        starts = (np.cumsum(counts) - counts)[used]
        np.moveaxis(dx, along, 0)[used] = np.moveaxis(np.add.reduceat(dy, starts, axis=along), along, 0)
    return dx.reshape(shape)


def concatenate(*arrays: Array, axis: int | None = 0) -> Result:
    """Arrays one after another along an axis that is there; None flattens them first."""
    y = np.concatenate(arrays, axis=axis)
    return y, (tuple(a.shape for a in arrays), axis)


def concatenate_backward(dy: Array, saved: Saved) -> tuple[Array, ...]:
    """Cut where they were joined."""
    shapes, axis = saved
    along = 0 if axis is None else axis
    sizes = [int(np.prod(shape)) if axis is None else shape[axis] for shape in shapes]
    parts = np.split(dy, np.cumsum(sizes)[:-1], axis=along)
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def stack(*arrays: Array, axis: int = 0) -> Result:
    """Arrays of one shape along a new axis."""
    return np.stack(arrays, axis=axis), (axis,)


def stack_backward(dy: Array, saved: Saved) -> tuple[Array, ...]:
    """Taken apart along that axis."""
    (axis,) = saved
    return tuple(np.moveaxis(dy, axis, 0))


def split(x: Array, sizes: Sequence[int], axis: int = 0) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
    """Pieces of these sizes, which must add up to x's, one after another along an axis: several outputs.

    Raises ValueError where they do not add up.
    """
    if sum(sizes) != x.shape[axis] or any(size < 0 for size in sizes):
        raise ValueError(f"split: sizes {list(sizes)} do not add up to {x.shape[axis]}, the size of axis {axis}")
    pieces = tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis)) if len(sizes) else ()
    return pieces, (tuple(piece.shape for piece in pieces), x.dtype, axis)


def split_backward(d_pieces: Sequence[Array | None], saved: Saved) -> Array:
    """Joined again; a piece that did not reach the loss (None) counts as zeros."""
    shapes, dtype, axis = saved
    parts = [np.zeros(s, dtype) if d is None else d for d, s in zip(d_pieces, shapes, strict=True)]
    return np.concatenate(parts, axis=axis)


def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Result:
    """The elements whose indices on axis1 and axis2 differ by offset, along a new last axis."""
    return np.diagonal(x, offset, axis1, axis2), (x.shape, x.dtype, offset, axis1, axis2)


def diagonal_backward(dy: Array, saved: Saved) -> Array:
    """Zero off the diagonal."""
    shape, dtype, offset, axis1, axis2 = saved
    dx = np.zeros(shape, dtype)
    rows = np.arange(dy.shape[-1]) + np.maximum(-offset, 0)
    np.moveaxis(dx, (axis1, axis2), (0, 1))[rows, rows + offset] = np.moveaxis(dy, -1, 0)
    return dx


def triu(x: Array, k: int = 0) -> Result:
    """The last two axes with zeros below diagonal k."""
    if x.ndim < 2:
        raise ValueError(f"triu: x must have at least two axes, not shape {x.shape}")
    return np.triu(x, k), (k,)


def triu_backward(dy: Array, saved: Saved) -> Array:
    """What was made zero no longer reaches the loss."""
    return np.triu(dy, saved[0])


def tril(x: Array, k: int = 0) -> Result:
    """The last two axes with zeros above diagonal k."""
    if x.ndim < 2:
        raise ValueError(f"tril: x must have at least two axes, not shape {x.shape}")
    return np.tril(x, k), (k,)


def tril_backward(dy: Array, saved: Saved) -> Array:
    """What was made zero no longer reaches the loss."""
    return np.tril(dy, saved[0])


def getitem(x: Array, index: Any) -> Result:
    """x[index] with NumPy's basic, integer and boolean indices; a single element too is an array, and a view."""
    y = x[index]
    if not isinstance(y, np.ndarray):
        y = x[(*(index if isinstance(index, tuple) else (index,)), ...)]
    return y, (x.shape, x.dtype, index)


def getitem_backward(dy: Array, saved: Saved) -> Array:
    """dx_i = Σ dy_j over all j that were taken from i: zero for an element not taken, the sum for one taken twice."""
    shape, dtype, index = saved
    dx = np.zeros(shape, dtype)
    if _may_repeat(index):
        np.add.at(dx, index, dy)
    else:
        dx[index] = dy
    return dx


def setitem(x: Array, value: Array | float, index: Any) -> Result:
    """x with ``value`` in the place of x[index]; where an index stands twice the last one written stays."""
    y = x.copy()
    y[index] = value
    return y, (x.shape, index, kind_of(value))


def setitem_backward(dy: Array, saved: Saved) -> tuple[Array, Array | None]:
    """What was overwritten no longer reaches the loss; the value gets the gradient of the places it stands in."""
    shape, index, kind = saved
    dx = dy.copy()
    dx[index] = 0
    if kind is None:
        return dx, None
    d_value = np.asarray(dy[index])
    if _may_repeat(index):
        number = np.arange(d_value.size).reshape(d_value.shape)
        stayed = np.full(shape, -1)
        stayed[index] = number
        d_value = np.where(stayed[index] == number, d_value, 0)
    # A value may have leading axes of size 1 that the place has not.
    extra = np.maximum(len(kind[0]) - d_value.ndim, 0)
    return dx, unbroadcast(d_value.reshape((1,) * extra + d_value.shape), kind)


def view_of(x: Array, positions: Array) -> Result:
    """The elements at these positions of the flattened x, which are all different; a copy."""
    return x.reshape(-1)[positions], (x.shape, x.dtype, positions)


def view_of_backward(dy: Array, saved: Saved) -> Array:
    """Each gradient at its position, zero elsewhere."""
    shape, dtype, positions = saved
    dx: Array = np.zeros(int(np.prod(shape)), dtype)
    dx[positions] = dy
    return dx.reshape(shape)


def with_view(x: Array, value: Array, positions: Array) -> Result:
    """x with ``value`` at these positions of the flattened array, which are all different."""
    y = x.copy().reshape(-1)
    y[positions] = value
    return y.reshape(x.shape), (x.shape, positions)


def with_view_backward(dy: Array, saved: Saved) -> tuple[Array, Array]:
    """What was overwritten no longer reaches the loss; the value in its place does."""
    shape, positions = saved
    dx = dy.copy().reshape(-1)
    d_value = dx[positions]
    dx[positions] = 0
    return dx.reshape(shape), d_value


def _may_repeat(index: Any) -> bool:
    """Whether one element may be named twice: only integer arrays can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list | np.ndarray) and np.asarray(part).dtype.kind in "iu" for part in parts)
