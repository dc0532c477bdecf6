"""Functions that move, join, cut and pick elements. They return views of the same memory if NumPy does."""

import math
import operator
from collections.abc import Sequence

import numpy as np

from handgrad import ops
from handgrad.autograd.methods import Ints
from handgrad.autograd.operands import as_tensor, either, promoted_tensors
from handgrad.autograd.recording import apply, apply_several
from handgrad.autograd.shared_memory import owner
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.ops.shapes import Axis, axes_of, integer, sizes_of


def reshape(x: TensorLike, *shape: Ints) -> Tensor:
    """The same elements in another shape, given as integers or as one tuple; one may be -1."""
    return apply(ops.reshape, as_tensor(x), shape=sizes_of(shape))


def view(x: TensorLike, *shape: Ints) -> Tensor:
    """Like reshape, but always shares memory.

    Raises RuntimeError if that is impossible; reshape then copies.
    """
    tensor = as_tensor(x)
    shaped = reshape(tensor, *shape)
    if owner(shaped.data) is not owner(tensor.data):
        raise RuntimeError(
            f"view: {sizes_of(shape)} of this memory (shape {tensor.shape}, strides {tensor.data.strides}) needs a "
            "copy; use reshape(), or contiguous() before view()"
        )
    return shaped


def contiguous(x: TensorLike) -> Tensor:
    """x itself if its elements lie in order in memory, else a copy in which they do."""
    tensor = as_tensor(x)
    return tensor if tensor.data.flags.c_contiguous else copy(tensor)


def copy(x: TensorLike) -> Tensor:
    """The same values in new memory; the gradient passes."""
    return apply(ops.copy, as_tensor(x))


def flatten(x: TensorLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Joins the axes from start_dim to end_dim into one; a copy, as in NumPy."""
    tensor = as_tensor(x)
    if tensor.ndim == 0:
        return copy(reshape(tensor, 1))
    first, last = (axes_of(tensor.data, axis)[0] for axis in (start_dim, end_dim))
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    shape = tensor.shape
    return copy(reshape(tensor, *shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def transpose(x: TensorLike, *axes: Ints | None) -> Tensor:
    """Two integers swap these axes (PyTorch). A tuple or more integers order all axes, none reverses them (NumPy)."""
    tensor = as_tensor(x)
    if len(axes) == 2 and all(integer(axis) is not None for axis in axes):
        return swapaxes(tensor, *axes)  # type: ignore[arg-type]
    if axes in ((), (None,)):
        return apply(ops.permute, tensor, axes=tuple(range(tensor.ndim))[::-1])
    return permute(tensor, *axes)  # type: ignore[arg-type]


def permute(x: TensorLike, *axes: Ints) -> Tensor:
    """Axis i of the result is axis axes[i] of x."""
    return apply(ops.permute, as_tensor(x), axes=sizes_of(axes))


def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """Exchanges two axes."""
    tensor = as_tensor(x)
    (first,), (second,) = axes_of(tensor.data, axis1), axes_of(tensor.data, axis2)
    order = list(range(tensor.ndim))
    order[first], order[second] = order[second], order[first]
    return apply(ops.permute, tensor, axes=tuple(order))


def matrix_transpose(x: TensorLike) -> Tensor:
    """The last two axes exchanged."""
    return swapaxes(x, -2, -1)


def squeeze(x: TensorLike, axis: Axis = None, *, dim: Axis = None) -> Tensor:
    """Removes axes of size 1, all or those named.

    Raises ValueError if a named axis has another size.
    """
    tensor = as_tensor(x)
    ones = tuple(i for i, size in enumerate(tensor.shape) if size == 1)
    axis = either(axis, dim)
    axes = ones if axis is None else axes_of(tensor.data, axis)
    large = [i for i in axes if tensor.shape[i] != 1]
    if large:
        raise ValueError(f"squeeze: axis {large[0]} of shape {tensor.shape} does not have size 1")
    return reshape(tensor, tuple(size for i, size in enumerate(tensor.shape) if i not in axes))


def expand_dims(x: TensorLike, axis: Ints | None = None, *, dim: Ints | None = None) -> Tensor:
    """Inserts axes of size 1 at these places of the result."""
    tensor = as_tensor(x)
    return reshape(tensor, np.expand_dims(tensor.data, sizes_of((either(axis, dim),))).shape)


def unsqueeze(x: TensorLike, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """Inserts an axis of size 1."""
    return expand_dims(x, either(axis, dim))


def broadcast_to(x: TensorLike, shape: Ints) -> Tensor:
    """Stretches x to a shape by NumPy's rules, without a copy."""
    return apply(ops.broadcast_to, as_tensor(x), shape=sizes_of((shape,)))


def expand(x: TensorLike, *sizes: Ints) -> Tensor:
    """Stretches axes of size 1 to these sizes, without a copy; -1 keeps a size, and new axes come first."""
    tensor, shape = as_tensor(x), sizes_of(sizes)
    new = len(shape) - tensor.ndim
    if new < 0 or -1 in shape[:new]:
        raise ValueError(
            f"expand: sizes {shape} must name every axis of shape {tensor.shape}, and new axes by their size"
        )
    kept = [tensor.shape[i - new] if size == -1 else size for i, size in enumerate(shape)]
    return broadcast_to(tensor, tuple(kept))


def tile(x: TensorLike, *reps: Ints) -> Tensor:
    """Lays x so many times side by side along each axis; missing counts or axes in front are 1 (PyTorch's repeat)."""
    tensor, counts = as_tensor(x), sizes_of(reps)
    if any(count < 0 for count in counts):
        raise ValueError(f"tile: the numbers of copies must be at least 0, not {counts}")
    ndim = max(tensor.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - tensor.ndim) + tensor.shape
    apart = reshape(tensor, tuple(size for pair in zip((1,) * ndim, shape, strict=True) for size in pair))
    copies = broadcast_to(apart, tuple(size for pair in zip(counts, shape, strict=True) for size in pair))
    return copy(reshape(copies, tuple(count * size for count, size in zip(counts, shape, strict=True))))


def t(x: TensorLike) -> Tensor:
    """The transpose of a matrix; a vector or a number as it is.

    Raises ValueError for more than two axes.
    """
    tensor = as_tensor(x)
    if tensor.ndim > 2:
        raise ValueError(f"t: takes at most two axes, not shape {tensor.shape}; use swapaxes, permute or transpose")
    return transpose(tensor)


def flip(x: TensorLike, axis: Axis = None, *, dims: Axis = None, dim: Axis = None) -> Tensor:
    """The elements in reverse order along these axes, all by default."""
    tensor = as_tensor(x)
    axes = axes_of(tensor.data, either(axis, either(dims, dim)))
    backwards = tuple(slice(None, None, -1 if i in axes else None) for i in range(tensor.ndim))
    return apply(ops.getitem, tensor, index=backwards)


def repeat(
    x: TensorLike, repeats: Ints | TensorLike, axis: int | None = None, *more: int, dim: int | None = None
) -> Tensor:
    """Repeats each element ``repeats`` times in a row, along an axis; None flattens x first. PyTorch's repeat is tile.

    Raises TypeError for more counts, which only PyTorch's takes.
    """
    axis = either(axis, dim)
    if more or (integer(axis) is not None and not -np.ndim(x) <= integer(axis) < max(np.ndim(x), 1)):  # type: ignore[operator]
        raise TypeError(
            f"repeat: repeats each element along an axis, as in NumPy: repeat(count, axis), x has {np.ndim(x)} axes; "
            "PyTorch's repeat is called tile"
        )
    single = integer(repeats)
    counts = as_tensor(repeats if single is None else single).data.copy()  # later changes of them have no effect
    if counts.dtype.kind not in "iu":
        raise TypeError(f"repeat: repeats must be integers, not {counts.dtype}")
    return apply(ops.repeat, as_tensor(x), repeats=counts, axis=axis)


def concatenate(tensors: Sequence[TensorLike], axis: int | None = 0, *, dim: int | None = None) -> Tensor:
    """Joins tensors along an existing axis."""
    axis = axis if dim is None else dim
    return apply(ops.concatenate, *promoted_tensors(*_some(tensors, "concatenate")), axis=axis)


def cat(tensors: Sequence[TensorLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """PyTorch's name for concatenate; the axis may be called dim or axis."""
    return concatenate(tensors, dim if axis is None else axis)


def stack(tensors: Sequence[TensorLike], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Joins tensors along a new axis."""
    return apply(ops.stack, *promoted_tensors(*_some(tensors, "stack")), axis=axis if dim is None else dim)


def split(x: TensorLike, split_size: Ints, dim: int = 0, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """Cuts x along an axis into pieces of ``split_size`` (the last may be smaller), or of these sizes."""
    tensor, along = as_tensor(x), dim if axis is None else axis
    (along,) = axes_of(tensor.data, along)
    size = tensor.shape[along]
    each = integer(split_size)
    if each is None:
        sizes = list(sizes_of((split_size,)))
    else:
        if each < 1:
            raise ValueError(f"split: pieces must have a size of at least 1, not {each}")
        sizes = [min(each, size - start) for start in range(0, size, each)] or [0]
    return tuple(apply_several(ops.split, tensor, sizes=sizes, axis=along))


def chunk(x: TensorLike, chunks: int, dim: int = 0, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """Cuts x along an axis into at most ``chunks`` pieces of equal size; the last may be smaller."""
    chunks = operator.index(chunks)
    if chunks < 1:
        raise ValueError(f"chunk: there must be at least 1 chunk, not {chunks}")
    tensor, along = as_tensor(x), dim if axis is None else axis
    size = tensor.shape[axes_of(tensor.data, along)[0]]
    if size == 0:
        return tuple(apply_several(ops.split, tensor, sizes=[0] * chunks, axis=along))
    return split(tensor, math.ceil(size / chunks), along)


def diagonal(
    x: TensorLike,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    *,
    dim1: int | None = None,
    dim2: int | None = None,
) -> Tensor:
    """The elements whose indices on two axes differ by ``offset``, along a new last axis."""
    axis1, axis2 = axis1 if dim1 is None else dim1, axis2 if dim2 is None else dim2
    offset, axis1, axis2 = map(operator.index, (offset, axis1, axis2))
    return apply(ops.diagonal, as_tensor(x), offset=offset, axis1=axis1, axis2=axis2)


def trace(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of a diagonal."""
    return apply(ops.sum, diagonal(x, offset, axis1, axis2), axis=-1)


def triu(x: TensorLike, k: int = 0, *, diagonal: int | None = None) -> Tensor:
    """x with zeros below diagonal k (PyTorch calls it diagonal) of the last two axes."""
    return apply(ops.triu, as_tensor(x), k=operator.index(k if diagonal is None else diagonal))


def tril(x: TensorLike, k: int = 0, *, diagonal: int | None = None) -> Tensor:
    """x with zeros above diagonal k (PyTorch calls it diagonal) of the last two axes."""
    return apply(ops.tril, as_tensor(x), k=operator.index(k if diagonal is None else diagonal))


def _some(tensors: Sequence[TensorLike], name: str) -> Sequence[TensorLike]:
    if len(tensors) == 0:
        raise ValueError(f"{name}: there must be at least one tensor")
    return tensors
