"""All parameters of a model in one array, all gradients in another."""

from collections.abc import Sequence

import numpy as np

from handgrad.arrays import Array
from handgrad.nn import Parameter


class Arena:
    """Two flat arrays, ``data`` and ``grad``, of which every parameter's value and gradient is a view for good.

    Zeroing all gradients is one fill, a replica's sum one addition, an optimizer step one pass for each group.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        size = sum(parameter.size for parameter in parameters)
        self.parameters = list(parameters)
        self.data: Array = np.empty(size, parameters[0].dtype)
        self.grad: Array = np.zeros(size, parameters[0].dtype)
        for parameter, data, grad in zip(parameters, self._views(self.data), self._views(self.grad), strict=True):
            parameter.bind(data, grad)

    def share(self, parameters: Sequence[Parameter]) -> "Arena":
        """Another model's arena, over these values and gradients of its own."""
        twin = object.__new__(Arena)
        twin.parameters, twin.data, twin.grad = list(parameters), self.data, np.zeros_like(self.grad)
        for parameter, own, grad in zip(parameters, self.parameters, self._views(twin.grad), strict=True):
            parameter.share(own, grad)
        return twin

    def _views(self, flat: Array) -> list[Array]:
        ends = np.cumsum([parameter.size for parameter in self.parameters])
        parts = [flat[end - p.size : end] for end, p in zip(ends, self.parameters, strict=True)]
        return [part.reshape(p.shape) for part, p in zip(parts, self.parameters, strict=True)]
