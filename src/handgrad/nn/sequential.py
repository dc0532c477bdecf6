"""Modules that hold modules: one after another, a list, a dictionary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from handgrad.nn.activations import GELU, ReLU, Sigmoid, Softplus, Tanh
from handgrad.nn.base_layer import Layer
from handgrad.nn.layers import Linear
from handgrad.nn.module import ArrayOrTensor, Module
from handgrad.system.arrays import Array

_ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "gelu": GELU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softplus": Softplus,
}


class Modules(Module):
    """Modules in order, named "0", "1", ..., as in PyTorch; what Sequential and ModuleList share."""

    def __init__(self, *modules: Module) -> None:
        self.extend(modules)

    @property
    def layers(self) -> list[Module]:
        """The modules, in their order."""
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def append(self, module: Module) -> Self:
        """Adds one at the end."""
        self.add_module(str(len(self)), self._checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Adds several at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Puts one in front of that which has this index."""
        layers = self.layers
        layers.insert(index, self._checked(module))
        self._replace_all(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __setitem__(self, index: int, module: Module) -> None:
        names = [name for name, value in vars(self).items() if isinstance(value, Module)]
        self.add_module(names[index], self._checked(module))

    def __delitem__(self, index: int | slice) -> None:
        layers = self.layers
        del layers[index]
        self._replace_all(layers)

    def _replace_all(self, layers: list[Module]) -> None:
        for name in [name for name, value in vars(self).items() if isinstance(value, Module)]:
            delattr(self, name)
        self.extend(layers)

    def _checked(self, module: Any) -> Module:
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: {len(self)} must be a Module, not {type(module).__name__}")
        return module


class Sequential(Modules):
    """Each module gets the output of the one before; ``backward`` goes through them in reverse.

    ``Sequential({"encode": ..., "decode": ...})`` names them.

    Raises TypeError for anything that is no module.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._checked(module))
            return
        if len(modules) == 1 and isinstance(modules[0], list | tuple):
            raise TypeError("Sequential: give the modules one by one, Sequential(*modules), not as a list")
        self.extend(modules)  # type: ignore[arg-type]

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def backward(self, dy: Array) -> Array:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def __getitem__(self, index: int | slice) -> Module:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def _renamed(self, prefix: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        old = f"{prefix}layers."  # until the names were PyTorch's
        return {prefix + name.removeprefix(old) if name.startswith(old) else name: each for name, each in state.items()}


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


class ModuleList(Modules):
    """A list of modules, by PyTorch's name; a plain list in a Module works as well."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(*modules)

    def __getitem__(self, index: int | slice) -> Any:
        return ModuleList(self.layers[index]) if isinstance(index, slice) else self.layers[index]


class ModuleDict(Module):
    """Modules by their names; a plain dictionary in a Module works as well."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds modules, or replaces those of the same names."""
        for name, module in modules.items():
            self[name] = module

    def keys(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def values(self) -> Iterator[Module]:
        return (module for _, module in self.items())

    def items(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def __len__(self) -> int:
        return len(dict(self.items()))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, name: object) -> bool:
        return name in dict(self.items())

    def __getitem__(self, name: str) -> Module:
        return dict(self.items())[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if hasattr(type(self), name) or not isinstance(module, Module):
            what = f"a Module cannot be called {name!r}" if isinstance(module, Module) else f"{name} must be a Module"
            raise TypeError(f"ModuleDict: {what}")
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        delattr(self, name)
