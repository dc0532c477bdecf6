"""Modules one after another."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from handgrad.nn.activations import GELU, ReLU, Sigmoid, Softplus, Tanh
from handgrad.nn.layers import Linear
from handgrad.nn.module import ArrayOrTensor, Layer, Module
from handgrad.system.arrays import Array

_ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "gelu": GELU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softplus": Softplus,
}


class Sequential(Module):
    """Each module gets the output of the one before; ``backward`` goes through them in reverse."""

    def __init__(self, *modules: Module) -> None:
        self.layers = list(modules)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def backward(self, dy: Array) -> Array:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __getitem__(self, index: int | slice) -> Module:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]


class MLP(Sequential):
    """Linear layers with an activation between them: (..., sizes[0]) to (..., sizes[-1]).

    ``MLP([2, 64, 64, 3], activation="tanh")`` has two hidden layers of 64. ``activation``: relu, gelu, tanh, sigmoid
    or softplus.

    Raises ValueError for fewer than two sizes, or for an unknown activation.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP: sizes must name at least the input's and the output's, not {list(sizes)}")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"MLP: activation must be one of {', '.join(_ACTIVATIONS)}, not {activation!r}")
        layers: list[Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [Linear(n_in, n_out, bias, rng=rng, dtype=dtype), _ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])


class ModuleList(list[Module]):
    """A list of modules, by PyTorch's name; a plain list in a Module works as well."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(modules)
