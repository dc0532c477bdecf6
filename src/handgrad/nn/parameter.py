"""A tensor that is learned, and one that is only kept."""

from typing import Any, Literal

from handgrad.arrays import Array
from handgrad.autograd import Tensor

Role = Literal["matrix", "embedding", "head", "vector"]


class Parameter(Tensor):
    """A Tensor that a Module finds by attribute, that ``backward`` gives a gradient and an optimizer moves.

    ``data`` is the value, ``grad`` the gradient (None before the first backward). Assigning to ``data`` copies
    into the array that is there, so that whoever holds a view of it (an optimizer, a replica) stays right.
    A parameter can live in a shared array (see ``bind``): its ``grad`` is then always an array, and assigning
    None fills it with zeros.
    """

    _bound = False

    def __init__(self, data: Any, requires_grad: bool = True, role: Role = "vector") -> None:
        super().__init__(data, requires_grad=requires_grad)
        self.role = role

    @classmethod
    def sharing(cls, other: "Parameter") -> "Parameter":
        return cls(other.data, other.requires_grad, other.role)

    def _assign_grad(self, value: Array | None) -> None:
        if self._grad is not None and (self._bound or value is not None):
            self._grad[...] = 0 if value is None else value
        else:
            super()._assign_grad(value)

    def bind(self, data: Array, grad: Array) -> None:
        """Moves value and gradient into views of larger arrays, for good; a gradient not yet there becomes zeros."""
        data[...] = self._data
        grad[...] = 0 if self._grad is None else self._grad
        self._data, self._grad, self._bound = data, grad, True

    def share(self, other: "Parameter", grad: Array) -> None:
        """Takes another parameter's array as its own value, and ``grad``, of the same shape, as its gradient."""
        self._data, self._version = other._data, other._version
        self._grad, self._bound = grad, True

    def accumulate(self, gradient: Array) -> None:
        """Adds to the gradient, where one is required; a parameter used twice gets the sum of both."""
        if self.requires_grad:
            super().accumulate(gradient)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


class Buffer(Tensor):
    """A Tensor that a Module finds by attribute and saves with its state, and that nobody learns: running means."""

    def __init__(self, data: Any, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent
        """Whether it belongs to the state that is saved."""
