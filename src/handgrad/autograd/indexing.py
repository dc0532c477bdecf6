"""What ``x[index]`` and ``x[index] = value`` do."""

from typing import Any

import numpy as np

from handgrad import ops
from handgrad.autograd.in_place import change_in_place, is_recorded
from handgrad.autograd.operands import as_tensor, operand
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike


def getitem(x: TensorLike, index: Any) -> Tensor:
    """x[index], with NumPy's basic, integer and boolean indices, which may be tensors."""
    return apply(ops.getitem, as_tensor(x), index=_plain_index(index))


def setitem(x: Tensor, index: Any, value: TensorLike) -> None:
    """x[index] = value, in x's memory; recorded if x or the value requires a gradient."""
    value = operand(value)
    if isinstance(value, Tensor) and value.data.dtype != x.dtype:
        if not np.can_cast(value.data.dtype, x.dtype, "same_kind"):
            raise TypeError(f"in-place: {value.data.dtype} cannot be put into a tensor of {x.dtype}")
        value = value.astype(x.dtype)
    elif isinstance(value, float) and x.dtype.kind != "f":
        raise TypeError(f"in-place: the float {value} cannot be put into a tensor of {x.dtype}")
    if is_recorded(x, value):
        change_in_place(x, ops.setitem, value, index=_plain_index(index))
    else:
        x.data[_plain_index(index)] = value.data if isinstance(value, Tensor) else value
        x.mark_changed()


def _plain_index(index: Any) -> Any:
    """An index as NumPy takes it: arrays for tensors, copied so that later changes of the tensors have no effect."""
    if isinstance(index, tuple):
        return tuple(_plain_index(part) for part in index)
    if isinstance(index, Tensor):
        if index.data.dtype.kind == "f":
            raise TypeError(f"index: a tensor of {index.data.dtype} cannot be an index; integers and booleans can")
        return index.data.copy()
    if isinstance(index, list):
        return np.array(index, dtype=None if index else np.int64)
    return index.copy() if isinstance(index, np.ndarray) else index
