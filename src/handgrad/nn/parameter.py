"""Parameters, which training changes, and buffers, which a module only saves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, cast

from handgrad.autograd import Tensor
from handgrad.system.arrays import Array

Role = Literal["matrix", "embedding", "head", "vector"]
"""What a parameter is for: a linear map or convolution, a table of embeddings, the map to the logits, or a vector added
or multiplied in (bias, gain). Weight decay and optimizers choose by it."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a parameter lies in two flat arrays, one of values and one of gradients: in ``span`` of both."""

    data: Array
    grad: Array
    span: slice

    def is_followed_by(self, other: "Place | None") -> bool:
        """Whether the other place begins where this one ends, in the same arrays."""
        return (
            other is not None
            and other.data is self.data
            and other.grad is self.grad
            and other.span.start == self.span.stop
        )


class Parameter(Tensor):
    """A Tensor that a Module finds by attribute. ``backward`` gives it a gradient, and an optimizer moves it.

    ``data`` is the value, ``grad`` the gradient (None before the first backward). Assigning to ``data`` copies into the
    existing array, so that views of it (an optimizer's, a replica's) stay right. ``role`` says what the parameter is
    for; the default is a vector, which does not decay.

    ``widths`` says which linear maps lie side by side in one fused matrix, by their sizes along its last axis:
    (C, C, C) for queries, keys and values in a matrix (C, 3C). () means one map. An optimizer that treats a matrix as a
    map, such as Muon, treats each of them by itself.

    A parameter can live in flat arrays that it shares with others (see ``bind``): ``place`` then says where, its
    ``grad`` is always an array, and assigning None fills it with zeros. ``place`` is None if the parameter has memory
    of its own, as every copy has.
    """

    # A slot, not an attribute as the role is: a copy takes over attributes, but never the place.
    __slots__ = ("place",)

    place: Place | None
    widths: tuple[int, ...] = ()

    def __init__(self, data: Any, requires_grad: bool = True, role: Role = "vector") -> None:
        super().__init__(data, requires_grad=requires_grad)
        self.role = role

    @classmethod
    def sharing(cls, other: "Parameter") -> Self:
        """A new parameter that shares the value of another, for a replica; it has no gradient yet."""
        parameter = cls.holding(other._data)
        parameter.share(other)
        return parameter

    def _hold(self, data: Array) -> None:
        super()._hold(data)
        self.place = None

    def _assign_grad(self, value: Array | None) -> None:
        if self._grad is not None and (self.place is not None or value is not None):
            self._grad[...] = 0 if value is None else value
        else:
            super()._assign_grad(value)

    def bind(self, place: Place) -> None:
        """Moves value and gradient to a place in flat arrays, permanently; a missing gradient becomes zeros."""
        data, grad = self._data, self._grad
        self.look_at(place)
        self._data[...] = data
        self._grad[...] = 0 if grad is None else grad  # type: ignore[index]

    def look_at(self, place: Place) -> None:
        """Makes the contents of a place in flat arrays its value and gradient."""
        self._data, self._grad = (flat[place.span].reshape(self.shape) for flat in (place.data, place.grad))
        self.place = place

    def share(self, other: "Parameter", grad: Array | None = None) -> None:
        """Shares the value of another parameter, with the count of its changes; takes over its role, widths and
        ``requires_grad``. The gradient is its own: zeros in the flat array ``grad``, in the span that the other has in
        its flat arrays; without ``grad``, none yet.

        Raises ValueError if ``grad`` is given but the other does not lie in flat arrays.
        """
        self._data, self._version = other._data, other._version
        self._requires_grad, self.role, self.widths = other.requires_grad, other.role, other.widths
        self._grad, self.place = None, None
        if grad is not None:
            if other.place is None:
                raise ValueError("share: a flat array of gradients was given, but the parameter lies in no flat array")
            self.place = Place(other.place.data, grad, other.place.span)
            self._grad = grad[self.place.span].reshape(self.shape)
            self._grad[...] = 0

    def __getstate__(self) -> Any:
        """What a pickle keeps: all but the place, as it copies the arrays."""
        attributes, slots = cast("tuple[Any, dict[str, Any]]", super().__getstate__())
        return attributes, {**slots, "place": None}

    def accumulate(self, gradient: Array) -> None:
        """Adds to the gradient, if one is required; a parameter used twice gets the sum of both."""
        if self.requires_grad:
            super().accumulate(gradient)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


class Part(NamedTuple):
    """A parameter and the span of a flat array that belongs to it."""

    parameter: Parameter
    span: slice

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parameter.shape

    @property
    def role(self) -> Role:
        return self.parameter.role

    def of(self, flat: Array) -> Array:
        """The span as a view of the parameter's shape."""
        return flat[self.span].reshape(self.shape)


def parts_of(parameters: Sequence[Parameter]) -> list[Part]:
    """Cuts a flat array among parameters, one after another from its beginning."""
    parts, start = [], 0
    for parameter in parameters:
        parts.append(Part(parameter, slice(start, start + parameter.size)))
        start += parameter.size
    return parts


class Buffer(Tensor):
    """A Tensor that a Module finds by attribute and saves with its state, and no optimizer moves: a running mean."""

    def __init__(self, data: Any, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent
        """Whether it belongs to the saved state."""
