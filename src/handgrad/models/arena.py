"""All parameters of a model in one array, all gradients in another."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from handgrad.nn import Parameter
from handgrad.nn.parameter import Part, Place, parts_of
from handgrad.system.arrays import Array


class Arena:
    """Two flat arrays, ``data`` and ``grad``. Every parameter's value and gradient is a permanent view of them.

    Zeroing all gradients is one fill, adding a replica's gradients is one addition, and an optimizer step is one pass
    for each group. ``parts`` gives each parameter's place in both arrays.
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
        """Every parameter with its span, in order."""
        return parts_of(self.parameters)

    def move(self, convert: Callable[[Array], Array]) -> None:
        """Moves values and gradients into arrays of another library, such as ``model.arena.move(cupy.asarray)``.

        The model then runs by hand on ids from that library. To save it, move it back first.
        """
        self.data, self.grad = convert(self.data), convert(self.grad)
        for parameter, span in self.parts:
            parameter.look_at(Place(self.data, self.grad, span))

    def share(self, parameters: Sequence[Parameter]) -> "Arena":
        """An arena for another model: it shares the values and has its own gradients, which start at zero.

        ``parameters`` are the other model's, in the same order; they become twins of this arena's parameters.
        """
        twin = object.__new__(Arena)
        twin.parameters, twin.data, twin.grad = list(parameters), self.data, np.zeros_like(self.grad)
        for parameter, own in zip(twin.parameters, self.parameters, strict=True):
            parameter.share(own, twin.grad)
        return twin

    def __reduce__(self) -> Any:
        # For copies and pickles: each parameter is copied by itself, then the copies move into a new arena.
        return Arena, (self.parameters,)
