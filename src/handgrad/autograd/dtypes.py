"""The dtypes that tensors have, and how data gets one of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad.system.arrays import Array

float32 = np.dtype("float32")
float64 = np.dtype("float64")
int32 = np.dtype("int32")
int64 = np.dtype("int64")
bool = np.dtype("bool")

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

    Other integers become int64, float16 becomes float32. Raises TypeError for anything that holds no numbers.
    """
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else _from_sequence(value)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if dtype is not None:
        return array.astype(checked_dtype(dtype), copy=False)
    if array.dtype in DTYPES:
        return array
    kind = array.dtype.kind
    if kind in "iu" or array.dtype == np.float16:
        return array.astype(np.int64 if kind in "iu" else float32)
    raise TypeError(f"tensor: {array.dtype} holds no numbers that a tensor can hold; supported are float, int and bool")


def _from_sequence(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return array
    # Python's floats become float32, however deep in lists; arrays of float64 keep their dtype.
    wide = any(inner.ndim and inner.dtype == np.float64 for inner in _arrays_in(value))
    return array if wide else array.astype(float32)


def _arrays_in(value: Any) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _arrays_in(item)
