"""A tensor in another dtype, by the names that PyTorch has for it. A tensor that has the dtype is returned itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad.autograd.dtypes import bool, checked_dtype, float32, float64, int32, int64
from handgrad.autograd.functions.elementwise import astype
from handgrad.autograd.tensor import Tensor


def to(x: Tensor, target: npt.DTypeLike | Tensor | None = None, *, dtype: npt.DTypeLike | None = None) -> Tensor:
    """x in a dtype, or in that of another tensor. It accepts the device "cpu", which holds every tensor.

    Raises ValueError for another device.
    """
    if isinstance(target, Tensor):
        return _cast(x, target.dtype)
    if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda", "mps", "gpu"):
        if target != "cpu":
            raise ValueError(f"to: there is no device {target!r}; tensors are NumPy's arrays, on the CPU")
        target = None
    wanted = target if dtype is None else dtype
    return x if wanted is None else _cast(x, wanted)


def to_float(x: Tensor) -> Tensor:
    """x in float32."""
    return _cast(x, float32)


def to_double(x: Tensor) -> Tensor:
    """x in float64."""
    return _cast(x, float64)


def to_int(x: Tensor) -> Tensor:
    """x in int32, rounded towards zero."""
    return _cast(x, int32)


def to_long(x: Tensor) -> Tensor:
    """x in int64, rounded towards zero."""
    return _cast(x, int64)


def to_bool(x: Tensor) -> Tensor:
    """True where x is not zero."""
    return _cast(x, bool)


def _cast(x: Tensor, dtype: npt.DTypeLike) -> Tensor:
    wanted: np.dtype[Any] = checked_dtype(dtype)
    return x if x.dtype == wanted else astype(x, wanted)
