"""What a tensor says of itself, and what Python and NumPy make of it: shape, dtype, numbers, text."""

from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad.autograd.grad_mode import is_grad_enabled
from handgrad.ops.shapes import as_array
from handgrad.system.arrays import Array


class Size(int):
    """The number of elements, as NumPy's ``size``; called, it answers as PyTorch's ``size``."""

    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> "Size":
        made = cls(array.size)
        made.shape = array.shape
        return made

    def __call__(self, dim: int | None = None) -> int | tuple[int, ...]:
        return self.shape if dim is None else self.shape[dim]

    def __reduce__(self) -> Any:
        return int, (int(self),)


class Conversions:
    """The part of a ``Tensor`` that only reads its array."""

    __slots__ = ()

    _data: Array
    requires_grad: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        """How many axes."""
        return self._data.ndim

    @property
    def size(self) -> "Size":
        """How many elements; called, as PyTorch's ``size()`` and ``size(0)``, the shape or one size of it."""
        return Size.of(self._data)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    def numel(self) -> int:
        """How many elements."""
        return self._data.size

    def item(self) -> Any:
        """The Python number of a tensor of one element."""
        return self._data.item()

    def numpy(self) -> Array:
        """The array, not a copy."""
        return self._data

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.requires_grad and is_grad_enabled():
            raise RuntimeError(
                "NumPy asked for the array of a tensor that requires a gradient, which would be lost there; use a "
                "function of handgrad, or pass detach() or data"
            )
        return np.array(self._data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return len(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __float__(self) -> float:
        return float(self._data.item())

    def __int__(self) -> int:
        return int(self._data.item())

    def __index__(self) -> int:
        return self._data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self._data.item(), spec) if self._data.ndim == 0 and spec else format(repr(self), spec)

    def __repr__(self) -> str:
        numbers = np.array2string(self._data, separator=", ", prefix="tensor(", threshold=200, precision=4)
        kind = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        # The numbers show every shape but those without elements.
        shape = f", shape={self.shape}" if self.size == 0 and self.shape != (0,) else ""
        return f"tensor({numbers}{shape}{kind}{', requires_grad=True' if self.requires_grad else ''})"


def unwrapped(value: Any) -> Any:
    """The array of a tensor; nested lists with each tensor in them replaced by its array."""
    if isinstance(value, Conversions):
        return value._data
    return [unwrapped(item) for item in value] if isinstance(value, list | tuple | range) else value


def fitting(value: Any, shape: tuple[int, ...], what: str) -> Array:
    """value as an array of exactly this shape: NumPy would broadcast silently."""
    array = as_array(value._data if isinstance(value, Conversions) else value)
    if array.shape != shape:
        raise ValueError(f"{what} of shape {array.shape} cannot be assigned to one of shape {shape}")
    return array
