"""An array of another library than NumPy, as strict as CuPy's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

UPLOADS = (np.array, np.asarray)
"""The functions that may get a NumPy array, as ``np.asarray(x, like=other)`` moves x to the other library."""


class OtherArray(NDArrayOperatorsMixin):
    """Computes what NumPy computes, with NumPy's bits, but is no NumPy array.

    Raises TypeError for what CuPy refuses: conversion to a NumPy array (``np.asarray(x)``), a NumPy array of one axis
    or more as an operand or index, a ufunc's methods (``np.add.at``, ``np.add.reduceat``), gufuncs (``np.matmul``;
    ``@`` works), and ``initial`` in ``max``. Every result is an OtherArray, even a single number.
    """

    def __init__(self, host: Any) -> None:
        self._host = np.asarray(host)

    def host(self) -> np.ndarray:
        """The NumPy array in it."""
        return self._host

    # -- NumPy's interface

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or ufunc.signature is not None:
            return NotImplemented
        out = kwargs.get("out", ())
        result = wrapped(ufunc(*map(plain, inputs), **{name: plain(value) for name, value in kwargs.items()}))
        return out[0] if out else result

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if "initial" in kwargs:
            raise TypeError(f"{function.__name__} got an unexpected keyword argument 'initial'")
        allow = function in UPLOADS
        result = function(*plain(args, allow), **{name: plain(value, allow) for name, value in kwargs.items()})
        return kwargs["out"] if kwargs.get("out") is not None else wrapped(result)

    # -- what every array has

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    T = property(lambda self: OtherArray(self._host.T))

    def reshape(self, *shape: Any) -> "OtherArray":
        return self._method("reshape", *shape)

    def transpose(self, *axes: Any) -> "OtherArray":
        return self._method("transpose", *axes)

    def swapaxes(self, first: int, second: int) -> "OtherArray":
        return self._method("swapaxes", first, second)

    def astype(self, dtype: Any, copy: bool = True) -> "OtherArray":
        return self._method("astype", dtype, copy=copy)

    def copy(self) -> "OtherArray":
        return self._method("copy")

    def sum(self, axis: Any = None, keepdims: bool = False) -> "OtherArray":
        return self._method("sum", axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> "OtherArray":
        return self._method("prod", axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "OtherArray":
        return self._method("mean", axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "OtherArray":
        return self._method("max", axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> "OtherArray":
        return self._method("min", axis=axis, keepdims=keepdims)

    def any(self) -> "OtherArray":
        return self._method("any")

    def tolist(self) -> Any:
        return self._host.tolist()

    def __pow__(self, other: Any) -> "OtherArray":
        return wrapped(self._host ** plain(other))  # as NumPy's operator, which computes a square as a product

    def __matmul__(self, other: Any) -> "OtherArray":
        return wrapped(self._host @ plain(other))

    def __rmatmul__(self, other: Any) -> "OtherArray":
        return wrapped(plain(other) @ self._host)

    def __getitem__(self, index: Any) -> "OtherArray":
        return wrapped(self._host[plain(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[plain(index)] = plain(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["OtherArray"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def _method(self, name: str, *args: Any, **kwargs: Any) -> "OtherArray":
        args, kwargs = plain(args), plain(kwargs)
        return OtherArray(getattr(self._host, name)(*args, **kwargs))


def plain(value: Any, allow: bool = False) -> Any:
    """``value`` with NumPy arrays in place of other arrays, however deep in tuples, lists and dicts.

    Raises TypeError for a NumPy array of one axis or more, unless ``allow``.
    """
    if isinstance(value, OtherArray):
        return value.host()
    if isinstance(value, np.ndarray) and value.ndim and not allow:
        raise TypeError(f"a NumPy array of shape {value.shape} meets one of another library")
    if isinstance(value, tuple | list):
        return type(value)(plain(part, allow) for part in value)
    if isinstance(value, dict):
        return {name: plain(part, allow) for name, part in value.items()}
    return value


def wrapped(value: Any) -> Any:
    """Arrays and NumPy's scalars as OtherArrays, also in tuples and lists; anything else as it is."""
    if isinstance(value, np.ndarray | np.generic):
        return OtherArray(value)
    if isinstance(value, tuple | list):
        return type(value)(wrapped(part) for part in value)
    return value
