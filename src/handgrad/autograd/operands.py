"""What operations accept, and the one rule for the dtype of their results.

float32 is the default. Numbers and 0-d tensors never widen an array, integers and booleans never widen a float: only
a float64 array does. So ``scores / math.sqrt(48)`` and ``weights * mask`` stay float32.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.autograd.conversions import unwrapped
from handgrad.autograd.dtypes import float32, float64, supported_array
from handgrad.autograd.methods import Number
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.system.arrays import Array

_FLOATS = frozenset((float32, float64))


def as_tensor_array(value: Any, dtype: npt.DTypeLike | None = None) -> Array:
    """The array of a tensor, or of anything that ``supported_array`` accepts."""
    return supported_array(unwrapped(value), dtype)


def as_tensor(value: TensorLike) -> Tensor:
    """A tensor as it is; an array or numbers as a constant."""
    if isinstance(value, Tensor):
        return value
    if _holds_history(value):
        return apply(ops.stack, *promoted_tensors(*value))  # type: ignore[misc]
    return Tensor.holding(as_tensor_array(value))


def without_gradient(array: Any) -> Tensor:
    """A tensor over a result that has no gradient."""
    return Tensor.holding(np.asarray(array))


def floating(value: TensorLike) -> Tensor:
    """Integers and booleans as float32, for results with fractions; floats as they are."""
    tensor = as_tensor(value)
    return tensor if tensor.dtype.kind == "f" else apply(ops.astype, tensor, dtype=float32)


def operand(value: TensorLike) -> Tensor | Number:
    """A tensor, or a Python number as it is: NumPy then computes in the other operand's dtype."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float | int):
        return value
    return as_tensor(value)


def promoted(*values: TensorLike, fractions: bool = False) -> list[Tensor | Number]:
    """The operands in their common dtype, by the rule above; at least one is a tensor.

    ``fractions``: the operation returns fractions even for integers, so these become float32.
    """
    operands = [operand(value) for value in values]
    tensors = [value for value in operands if isinstance(value, Tensor)]
    if not tensors:
        tensors = [as_tensor(operands[0])]
        operands[0] = tensors[0]
    dtype = tensors[0].data.dtype
    if dtype.kind == "f" and all(tensor.data.dtype == dtype for tensor in tensors):
        return operands  # the usual case
    dtype = _common([tensor.data for tensor in tensors])
    if dtype.kind != "f" and (fractions or any(isinstance(value, float) for value in operands)):
        dtype = float32
    return [
        apply(ops.astype, value, dtype=dtype) if isinstance(value, Tensor) and value.data.dtype != dtype else value
        for value in operands
    ]


def promoted_tensors(*values: TensorLike) -> list[Tensor]:
    """The same for operations that take no Python numbers."""
    return promoted(*map(as_tensor, values))  # type: ignore[return-value]


def promoted_arrays(values: Sequence[Any]) -> list[Any]:
    """Arrays, numbers and lists as floating arrays of their common dtype, by the rule above; None stays None.

    For layers that are driven by hand. Arrays of another library than NumPy pass through if they share a dtype.
    """
    dtypes = {getattr(value, "dtype", None) for value in values if value is not None}
    if len(dtypes) <= 1 and dtypes <= _FLOATS:
        return list(values)  # the usual case
    given = [value for value in values if value is not None]
    arrays = [as_tensor_array(value) for value in given]
    common = _common(arrays)
    if common.kind != "f":
        common = float32
    cast = iter([array.astype(common, copy=False) for array in arrays])
    return [None if value is None else next(cast) for value in values]


def either(axis: Any, dim: Any) -> Any:
    """The axis, by whichever of its two names it was given."""
    if axis is not None and dim is not None:
        raise TypeError(f"give axis {axis} or dim {dim}, not both")
    return axis if dim is None else dim


def _common(all_arrays: Sequence[Array]) -> np.dtype[Any]:
    arrays = [array for array in all_arrays if array.ndim > 0]
    lone = [array for array in all_arrays if array.ndim == 0]
    if arrays and lone:
        wide, narrow = _common_of(arrays), _common_of(lone)
        return narrow if "bif".index(narrow.kind) > "bif".index(wide.kind) else wide
    return _common_of(arrays or lone)


def _common_of(arrays: Sequence[Array]) -> np.dtype[Any]:
    floats = {array.dtype for array in arrays if array.dtype.kind == "f"}
    return np.result_type(*(floats or {array.dtype for array in arrays}))


def _holds_history(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, list | tuple) and any(_holds_history(item) for item in value)
