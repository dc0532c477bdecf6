"""The base of all layers: a module finds its parameters and children by attribute, and runs by hand or on the tape."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np

from handgrad.autograd import Tensor
from handgrad.autograd.operands import as_tensor_array, floating, promoted_arrays
from handgrad.nn.forward_pass import current_pass, drop, new_pass
from handgrad.nn.parameter import Buffer, Parameter
from handgrad.nn.state import Unfit, check_state
from handgrad.system.arrays import Array

Found = TypeVar("Found", bound=Tensor)
Held = TypeVar("Held")
ArrayOrTensor: TypeAlias = Array | Tensor
"""What a layer is called with and returns: an array by hand, a Tensor on the tape."""


class Module:
    """A part of a model; ``forward`` computes its output.

    Parameters, buffers and child modules are found by attribute, also in lists, tuples and dictionaries.

    Called with arrays, it is driven by hand: ``backward`` turns ∂L/∂output into ∂L/∂input and adds to the ``grad`` of
    each parameter. A call from outside begins a new pass and drops what this module and those below kept in an earlier
    one. Within one pass a layer runs once. Only a call, ``module(x)``, makes one pass of everything below: layers that
    are called one by one, or by a ``forward`` that is called directly, each have a pass of their own.

    Called with a Tensor, it runs on the tape, and the ``backward`` of the result does all that. A module without a
    ``backward`` for its ``forward``, or one that holds such a module, always runs on the tape.
    """

    training = True

    def forward(self, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Any) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} has no backward: call backward() on what it returned, or write one, the forward in "
            "reverse"
        )

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not is_on_tape(*inputs, *options.values()):
            if current_pass() is not None and _has_backward(self):
                return self.forward(*inputs, **options)
            modules = list(self.modules())
            if all(map(_has_backward, modules)):
                with new_pass(modules):
                    return self.forward(*inputs, **options)
        return self.forward(*map(_on_tape, inputs), **{name: _on_tape(value) for name, value in options.items()})

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules held directly, with their names; those in a list are named ``attribute.index``."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list | tuple | dict) and name != "_kept":  # what a layer keeps holds no module
                yield from _held(Module, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """A Buffer that is assigned new values stays a Buffer; a Parameter cannot be replaced by a Tensor."""
        if isinstance(value, Tensor | np.ndarray) and not isinstance(value, Parameter | Buffer):
            held = vars(self).get(name)
            if isinstance(held, Buffer):
                value = Buffer(value, held.persistent)
            elif isinstance(held, Parameter):
                raise TypeError(
                    f"{type(self).__name__}: {name} is a Parameter and cannot be replaced by a Tensor; assign to its "
                    "data, or assign a Parameter"
                )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        """This module and those below, indented, each with the shapes of its own parameters."""
        shapes = ", ".join(
            f"{name} {value.shape}" for name, value in vars(self).items() if isinstance(value, Parameter)
        )
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "".join(f"\n  {line}" for line in lines) + "\n" if lines else ""
        return f"{type(self).__name__}({shapes}{inside})"

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module, under the name ``prefix``, and all below it, with their names."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, each once."""
        seen: set[int] = set()
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield module
                waiting.extend(reversed([child for _, child in module.named_children()]))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, under the first name it is found by, in the order of the attributes."""
        return _each_once(self._found(Parameter, ""))

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Every buffer once, under the first name it is found by."""
        return _each_once(self._found(Buffer, ""))

    def buffers(self) -> Iterator[Buffer]:
        """Every buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """PyTorch's way to write ``self.name = Buffer(tensor)``; None reserves the name."""
        setattr(self, name, None if tensor is None else Buffer(tensor, persistent))

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """PyTorch's way to write ``self.name = parameter``; None reserves the name."""
        setattr(self, name, parameter)

    def add_module(self, name: str, module: "Module | None") -> None:
        """PyTorch's way to write ``self.name = module``; names that are no words, such as "0", are allowed too.

        Raises TypeError for anything that is no module.
        """
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"add_module: {name} must be a Module, not {type(module).__name__}")
        setattr(self, name, module)

    def children(self) -> Iterator["Module"]:
        """The modules held directly, each once."""
        return iter({id(child): child for _, child in self.named_children()}.values())

    def apply(self, function: Callable[["Module"], Any]) -> Self:
        """Calls ``function`` with every module below this one, then with this one: to initialise weights, perhaps."""
        for child in self.children():
            Module.apply(child, function)
        function(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes the parameters, with False, or lets them learn again."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def _found(self, kind: type[Found], prefix: str) -> Iterator[tuple[str, Found]]:
        """Tensors of a kind here and below, with repeats."""
        for name, value in vars(self).items():
            yield from _held(kind, prefix + name, value)
        for name, child in self.named_children():
            yield from child._found(kind, f"{prefix}{name}.")

    def _state(self) -> dict[str, Tensor]:
        kept = {name: buffer for name, buffer in self.named_buffers() if buffer.persistent}
        return {**dict(self.named_parameters()), **kept}

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter's and persistent buffer's value, by name."""
        return {name: tensor.data.copy() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Array | Tensor], strict: bool = True) -> Unfit:
        """Copies values in, by name. If anything does not fit, nothing changes.

        Returns the missing and unexpected names, of which there are none unless ``strict`` is false: then names that
        are missing keep their values, and unexpected ones are passed over.

        Raises ValueError that lists all wrongly shaped and, if ``strict``, all missing and unexpected names.
        """
        for prefix, module in self.named_modules():
            state = module._renamed(f"{prefix}." if prefix else "", state)
        own = self._state()
        unfit = check_state(type(self).__name__, own, state, strict)
        arrays = {name: as_tensor_array(state[name], own[name].dtype) for name in own if name in state}
        for name, array in arrays.items():
            own[name].data = array
        return unfit

    def _renamed(self, prefix: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state with the present names of what this module, found under ``prefix``, once named otherwise."""
        return state

    def train(self, mode: bool = True) -> Self:
        """Switches to training (dropout drops) or, with ``mode=False``, out of it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switches out of training: dropout is the identity."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears all gradients, or fills them with zeros."""
        for parameter in self.parameters():
            parameter.zero_grad(set_to_none)

    def set_generator(self, rng: np.random.Generator) -> None:
        """Makes every layer that draws random numbers (dropout) draw from this generator."""
        for module in self.modules():
            if hasattr(module, "rng"):
                module.rng = rng

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """Inside, calls by hand of this module and its parts are one pass: a loss calls a model, then its own layer."""
        modules = list(self.modules())
        with new_pass(modules) if all(map(_has_backward, modules)) else nullcontext():
            yield

    def forget(self) -> None:
        """Drops what forwards have kept for a backward that will not run, after an interrupted step."""
        drop(self.modules())


def in_floats(x: ArrayOrTensor) -> ArrayOrTensor:
    """x, with integers and booleans converted to float32, by hand as on the tape."""
    return floating(x) if isinstance(x, Tensor) else promoted_arrays([x])[0]


def is_on_tape(*values: Any) -> bool:
    """Whether one of them is a Tensor, so that what is computed from them belongs on the tape."""
    for value in values:  # noqa: SIM110, as this runs for every operation and any() takes longer
        if isinstance(value, Tensor):
            return True
    return False


def _has_backward(module: Module) -> bool:
    return _is_backward_of_its_forward(type(module))  # type: ignore[arg-type]  # a class has a hash


@cache
def _is_backward_of_its_forward(kind: type[Module]) -> bool:
    """Whether a class's backward was written for its forward.

    A subclass that overrides forward alone inherits the backward of another function.
    """
    forward, backward = (next(c for c in kind.__mro__ if name in vars(c)) for name in ("forward", "backward"))
    follows = vars(backward).get("_follows_from_forward", False) and backward in forward.__bases__
    return backward is not Module and (issubclass(backward, forward) or follows)


def _on_tape(value: Any) -> Any:
    return Tensor.holding(as_tensor_array(value)) if isinstance(value, np.ndarray) else value


def _held(kind: type[Held], name: str, value: Any) -> Iterator[tuple[str, Held]]:
    """The objects of a kind in an attribute's value: itself, or what its lists, tuples and dictionaries hold."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _held(kind, f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _held(kind, f"{name}.{key}", item)


def _each_once(named: Iterator[tuple[str, Found]]) -> Iterator[tuple[str, Found]]:
    seen: set[int] = set()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor
