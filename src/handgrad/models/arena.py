"""All parameters of a model in one array, all gradients in another."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from handgrad.nn import Parameter
from handgrad.nn.parameter import Part, Place, parts_of
from handgrad.system.arrays import Array


class Arena:
    """Two flat arrays, ``data`` and ``grad``, of which every parameter's value and gradient is a view for good.

    Zeroing all gradients is one fill, a replica's sum one addition, an optimizer step one pass for each group.
    ``parts`` says what lies where in both.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        size = sum(parameter.size for parameter in parameters)
        self.parameters = list(parameters)
        self.data: Array = np.empty(size, parameters[0].dtype)
        self.grad: Array = np.zeros(size, parameters[0].dtype)
        for parameter, span in self.parts:
            parameter.bind(Place(self.data, self.grad, span))

    @property
    def parts(self) -> list[Part]:
        """Every parameter with its span, in their order."""
        return parts_of(self.parameters)

    def move(self, convert: Callable[[Array], Array]) -> None:
        """Moves values and gradients into arrays of another library, such as ``model.arena.move(cupy.asarray)``.

        The model is then driven by hand with ids of that library. To save it, move it back first.
        """
        self.data, self.grad = convert(self.data), convert(self.grad)
        for parameter, span in self.parts:
            parameter.look_at(Place(self.data, self.grad, span))

    def share(self, parameters: Sequence[Parameter]) -> "Arena":
        """Another model's arena: the same values, and gradients of its own, of zeros.

        ``parameters`` are the other model's, in the order of these; they become twins of these.
        """
        twin = object.__new__(Arena)
        twin.parameters, twin.data, twin.grad = list(parameters), self.data, np.zeros_like(self.grad)
        for parameter, own in zip(twin.parameters, self.parameters, strict=True):
            parameter.share(own, twin.grad)
        return twin

    def __reduce__(self) -> Any:
        # For copies and pickles: each parameter is copied on its own, then the copies move into an arena of theirs.
        return Arena, (self.parameters,)
