"""The dtypes that tensors have, and how data gets one of them."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad.system.arrays import Array

float32 = np.dtype("float32")
float64 = np.dtype("float64")
int32 = np.dtype("int32")
int64 = np.dtype("int64")
bool = np.dtype("bool")
float = float32
"""Another name for ``float32``, PyTorch's."""
double = float64
"""Another name for ``float64``, PyTorch's."""
int = int32
"""Another name for ``int32``, PyTorch's."""
long = int64
"""Another name for ``int64``, PyTorch's."""

DTYPES = (float32, float64, int32, int64, bool)


def checked_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """The dtype, if tensors may have it.

    Raises TypeError for any other.
    """
    found = np.dtype(dtype)
    if found not in DTYPES:
        raise TypeError(f"dtype must be float32, float64, int32, int64 or bool, not {found}")
    return found


def check_differentiable(dtype: np.dtype[Any]) -> None:
    """Raises TypeError for a dtype that has no gradients."""
    if dtype.kind != "f":
        raise TypeError(
            f"requires_grad: a tensor of {dtype} has no gradient, only float32 and float64 have; make it one with "
            "astype(handgrad.float32)"
        )


def supported_array(value: Any, dtype: npt.DTypeLike | None = None) -> Array:
    """value as an array of a supported dtype: arrays keep theirs, Python's floats become float32, its ints int64.

    Other integers become int64, float16 becomes float32. Raises TypeError for anything that holds no numbers,
    OverflowError for an integer that does not fit.
    """
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else _from_sequence(value)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if dtype is not None:
        return _cast(array, checked_dtype(dtype))
    if array.dtype in DTYPES:
        return array
    kind = array.dtype.kind
    if kind in "iu" or array.dtype == np.float16:
        return _cast(array, int64 if kind in "iu" else float32)
    raise TypeError(f"tensor: {array.dtype} holds no numbers that a tensor can hold; supported are float, int and bool")


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in a dtype; NumPy would wrap integers that do not fit."""
    if array.dtype.kind in "iu" and dtype.kind == "i" and array.size and not np.can_cast(array.dtype, dtype):
        for value in (array.max(), array.min()):
            if not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
                raise OverflowError(f"tensor: {value} does not fit into {dtype}")
    return array.astype(dtype, copy=False)


def _from_sequence(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return array
    if array.size and not np.abs(array).max() < 2.0**63:
        # NumPy makes floats of integers that are too large, if others are small.
        numbers = list(_numbers_in(value))
        if all(isinstance(number, Integral) for number in numbers):
            raise OverflowError(f"tensor: {max(numbers, key=abs)} does not fit into int64")
    # Python's floats become float32, however deep in lists; arrays of float64 keep their dtype.
    wide = any(inner.ndim and inner.dtype == np.float64 for inner in _arrays_in(value))
    return array if wide else array.astype(float32)


def _numbers_in(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers_in(item)
    else:
        yield value


def _arrays_in(value: Any) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _arrays_in(item)
