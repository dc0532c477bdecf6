"""An array that is learned, and its gradient."""

from typing import Any

import numpy as np

from handgrad.arrays import Array


class Parameter:
    """An array that a Module finds by attribute, that ``backward`` gives a gradient and an optimizer moves.

    ``data`` is the value, ``grad`` the gradient (None before the first backward). Assigning to ``data`` copies
    into the array that is there, so that whoever holds a view of it (an optimizer, a replica) stays right.
    A parameter can live in a shared array (see ``bind``): its ``grad`` is then always an array, and assigning
    None fills it with zeros.
    """

    def __init__(self, data: Array, requires_grad: bool = True) -> None:
        self._data = np.array(data, order="C")
        self._grad: Array | None = None
        self._bound = False
        self.requires_grad = requires_grad

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, value: Array) -> None:
        self._data[...] = _fitting(value, self.shape, "data")

    @property
    def grad(self) -> Array | None:
        return self._grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if value is not None:
            value = _fitting(value, self.shape, "grad")
        if self._grad is not None and (self._bound or value is not None):
            self._grad[...] = 0 if value is None else value
        else:
            self._grad = None if value is None else np.array(value, dtype=self.dtype, order="C")

    def bind(self, data: Array, grad: Array) -> None:
        """Moves value and gradient into views of larger arrays, for good; a gradient not yet there becomes zeros."""
        data[...] = self._data
        grad[...] = 0 if self._grad is None else self._grad
        self._data, self._grad, self._bound = data, grad, True

    def share(self, data: Array, grad: Array) -> None:
        """Takes another parameter's array as its own value, and ``grad``, of the same shape, as its gradient."""
        self._data, self._grad, self._bound = data, grad, True

    def accumulate(self, gradient: Array) -> None:
        """Adds to the gradient; a parameter used twice gets the sum of both."""
        if not self.requires_grad:
            return
        gradient = _fitting(gradient, self.shape, "a gradient")
        if self._grad is None:
            self._grad = np.array(gradient, dtype=self.dtype, order="C")
        else:
            self._grad += gradient

    def zero_grad(self) -> None:
        """Forgets the gradient: None, or zeros where it lives in a shared array."""
        self.grad = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


def _fitting(value: Any, shape: tuple[int, ...], what: str) -> Array:
    """value as an array of just that shape: NumPy would broadcast silently."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"Parameter: {what} of shape {array.shape} cannot be assigned to one of shape {shape}")
    return array
