"""Functions that order elements and pick some of them by their indices."""

import operator

import numpy as np

from handgrad import ops
from handgrad.autograd.methods import TopK
from handgrad.autograd.operands import as_tensor, either, without_gradient
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.ops.shapes import axes_of
from handgrad.system.arrays import Array


def gather(
    x: TensorLike, dim: int | None = None, index: TensorLike | None = None, *, axis: int | None = None
) -> Tensor:
    """Along one axis, the elements that ``index`` names: out_ijk = x_i,index_ijk,k for axis 1 of three (PyTorch).

    The result has index's shape, which has x's number of axes and on the others is not longer than x.
    """
    tensor, along = as_tensor(x), either(axis, dim)
    if along is None or index is None:
        raise TypeError("gather: give the axis and the index, gather(x, dim, index)")
    (along,) = axes_of(tensor.data, along)
    return apply(ops.gather, tensor, indices=_whole_numbers(index, "gather"), axis=along)


def take_along_axis(x: TensorLike, indices: TensorLike, axis: int | None = -1, *, dim: int | None = None) -> Tensor:
    """The same by NumPy's rules: on the other axes, x and indices broadcast; axis None flattens x first."""
    tensor, found, axis = as_tensor(x), _whole_numbers(indices, "take_along_axis"), axis if dim is None else dim
    if axis is None:
        tensor, axis = tensor.reshape(-1), 0
    (along,) = axes_of(tensor.data, axis)
    if found.ndim != tensor.ndim:
        raise ValueError(f"take_along_axis: indices of shape {found.shape} do not have the axes of x {tensor.shape}")
    shape = np.broadcast_shapes(_without(tensor.shape, along), _without(found.shape, along))
    whole = (*shape[:along], found.shape[along], *shape[along:])
    tensor = tensor.broadcast_to((*shape[:along], tensor.shape[along], *shape[along:]))
    return apply(ops.gather, tensor, indices=np.broadcast_to(found, whole), axis=along)


def argsort(
    x: TensorLike, axis: int | None = -1, *, dim: int | None = None, descending: bool = False, stable: bool = True
) -> Tensor:
    """The indices that sort x along an axis; None flattens x first. Equal elements keep their order."""
    return without_gradient(_order(as_tensor(x).data, axis if dim is None else dim, descending))


def sort(
    x: TensorLike, axis: int | None = -1, *, dim: int | None = None, descending: bool = False, stable: bool = True
) -> Tensor:
    """A sorted copy along an axis, without the indices; None flattens x first."""
    tensor, axis = as_tensor(x), axis if dim is None else dim
    if axis is None or tensor.ndim == 0:
        tensor, axis = tensor.reshape(-1), -1
    return take_along_axis(tensor, _order(tensor.data, axis, descending), axis)


def topk(
    x: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, axis: int | None = None
) -> TopK[Tensor]:
    """The k largest elements along an axis, from the largest down, and their indices; or the smallest, upwards.

    Raises ValueError if the axis has fewer than k.
    """
    tensor, k = as_tensor(x), operator.index(k)
    (along,) = axes_of(tensor.data, dim if axis is None else axis)
    if not 0 <= k <= tensor.shape[along]:
        raise ValueError(f"topk: k must lie in [0, {tensor.shape[along]}], the size of axis {along}, not {k}")
    first = [slice(None)] * tensor.ndim
    first[along] = slice(k)
    indices = _order(tensor.data, along, largest)[tuple(first)]
    return TopK(take_along_axis(tensor, indices, along), without_gradient(indices))


def one_hot(ids: TensorLike, num_classes: int = -1) -> Tensor:
    """(...) integers to (..., num_classes) int64: 1 at each id, else 0; by default as many classes as the ids need.

    Raises ValueError for an id outside [0, num_classes).
    """
    array, n = _whole_numbers(ids, "one_hot"), operator.index(num_classes)
    if n == -1:
        n = int(array.max(initial=-1)) + 1
    if array.size and not (array.min() >= 0 and array.max() < n):
        raise ValueError(f"one_hot: ids must lie in [0, {n}), not {array.min()} to {array.max()}")
    return without_gradient((array[..., None] == np.arange(n)).astype(np.int64))


def _whole_numbers(value: TensorLike, name: str) -> Array:
    array = as_tensor(value).data
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name}: indices must be integers, not {array.dtype}")
    return array.astype(np.int64)


def _order(x: Array, axis: int | None, descending: bool) -> Array:
    """The indices that sort x; equal elements keep their order, NaN counts as the largest."""
    if axis is None or x.ndim == 0:
        x, axis = x.reshape(-1), -1
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    # The reverse of the reverse's order keeps the order of equal elements.
    backwards = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    return x.shape[axis] - 1 - backwards


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
