"""LanguageModel: the interface to a model that training, generation, checking and benchmarking use."""

import copy
import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from handgrad.autograd import Tensor
from handgrad.models.arena import Arena
from handgrad.models.config import GPTConfig
from handgrad.models.formats.weights import write_weights
from handgrad.models.matrix_products import Product
from handgrad.nn import ArrayOrTensor, CrossEntropyLoss, Layer, Module, Parameter, is_on_tape
from handgrad.nn.parameter import Role
from handgrad.nn.state import Unfit
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array


class LanguageModel(Module):
    """A model that predicts the next token: logits for each token of a window, their loss, and the backward of both.

    A subclass builds its parts, then calls ``__init__`` here with its configuration. Its ``forward`` maps ids (B, T)
    to logits (B, T, V); its ``backward`` begins with ``d_logits`` and goes through the parts in reverse.

    One flat array holds all parameters, another all gradients: the ``arena``.
    """

    def __init__(self, config: GPTConfig) -> None:
        self.config = config
        self.cross_entropy = CrossEntropyLoss()
        # Parameters that decay come first, so that each group of an optimizer is one piece of memory.
        self.arena = Arena(sorted(self.parameters(), key=lambda parameter: not _decays(parameter)))

    def __call__(self, ids: Any, **options: Any) -> Any:
        return super().__call__(ids if is_on_tape(ids) or hasattr(ids, "dtype") else np.asarray(ids), **options)

    def logits(self, ids: ArrayOrTensor) -> Any:
        """Logits (B, T, V) for the token after each of ids (B, T), T ≤ block_size; the same as calling the model."""
        return self(ids)

    def loss(self, ids: Any, targets: Any) -> Any:
        """Mean cross entropy in nats of targets (B, T), the tokens that follow ids (B, T).

        Arrays give a float; call the model's ``backward`` next. Tensors give a Tensor; call its own ``backward()``.
        """
        if is_on_tape(ids, targets):
            return self.cross_entropy(self(ids if is_on_tape(ids) else Tensor(ids)), targets)
        with self.one_pass():
            loss = self.cross_entropy(self(ids), targets)
        return loss if is_on_tape(loss) else float(loss)  # a part without a backward moves the whole model to the tape

    def d_logits(self, dy: Any) -> Any:
        """∂L/∂logits. After ``loss``, dy is ∂L/∂loss; after a call of the model, dy is ∂L/∂logits itself.

        Raises ValueError if dy does not match the forward.
        """
        if self.cross_entropy.awaits_backward:
            if np.ndim(dy) != 0:
                raise ValueError(
                    f"{type(self).__name__}: after loss, backward takes ∂L/∂loss, a number; after a call of the "
                    "model, ∂L/∂logits"
                )
            return self.cross_entropy.backward(dy)
        if np.ndim(dy) != 3 and any(isinstance(part, Layer) and part.awaits_backward for part in self.modules()):
            raise ValueError(
                f"{type(self).__name__}: after a call of the model, backward needs ∂L/∂logits (B, T, V); after loss, "
                "nothing"
            )
        return dy

    @property
    def takes_kv_cache(self) -> bool:
        """Whether ``forward`` has an argument ``kv_cache``, as ``models.KVCache`` explains it."""
        return "kv_cache" in inspect.signature(self.forward).parameters

    def products(self, windows: int, length: int) -> list[Product]:
        """All matrix products of a training step on ``windows`` windows of ``length`` tokens."""
        return self.config.products(windows, length)

    def parameters_by_role(self) -> dict[Role, list[Parameter]]:
        """The parameters of each role, in the order of the arena."""
        found: dict[Role, list[Parameter]] = {"matrix": [], "embedding": [], "head": [], "vector": []}
        for parameter in self.arena.parameters:
            found[parameter.role].append(parameter)
        return found

    def decay_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: matrices, embeddings and the head decay, biases and gains do not."""
        parameters = self.arena.parameters
        return [
            {"params": [p for p in parameters if _decays(p)], "weight_decay": weight_decay},
            {"params": [p for p in parameters if not _decays(p)], "weight_decay": 0.0},
        ]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Fills all gradients with zeros, whatever ``set_to_none`` is: they lie in the arena for good."""
        self.arena.grad[...] = 0

    @property
    def n_parameters(self) -> int:
        """Number of scalar parameters."""
        return self.arena.data.size

    def replica(self) -> Self:
        """A model that shares these parameters, with its own gradients and its own memory of a pass."""
        twins = {id(parameter): Parameter.sharing(parameter) for parameter in self.arena.parameters}
        twin: Self = _rebuilt(self, dict(twins))
        twin.arena = self.arena.share(list(twins.values()))
        return twin

    def in_precision(self, precision: Precision) -> Self:
        """A model that shares these parameters, as a replica does, and multiplies matrices in this precision; this
        model itself if it does already.

        Raises InputError for an unknown precision.
        """
        if precision == self.config.precision:
            return self
        config = replace(self.config, precision=precision)
        twin = self.replica()
        twin.config = config
        for part in twin.modules():
            if hasattr(part, "precision"):
                part.precision = precision
        return twin

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights, under their names in files, and the configuration into one safetensors file.
        ``handgrad.models.load`` reads it.

        Raises InputError if safetensors is not installed, OSError if the file cannot be written.
        """
        write_weights(path, self.stored_state(), self.config)

    def stored_name(self, name: str) -> str:
        """The name in files of the parameter ``name``."""
        return name

    def stored_state(self) -> dict[str, Array]:
        """Every parameter's value, not copied, under its name in files."""
        return {self.stored_name(name): np.ascontiguousarray(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array | Tensor], strict: bool = True) -> Unfit:
        """Copies values in, by the names here or by those in files. Changes nothing unless everything fits.

        Returns the missing and unexpected names. Raises ValueError with all wrong shapes and, if ``strict``, with all
        missing and unexpected names.
        """
        own = {self.stored_name(name): name for name, _ in self.named_parameters()}
        return super().load_state_dict({own.get(name, name): value for name, value in state.items()}, strict)


def _decays(parameter: Parameter) -> bool:
    return parameter.role != "vector"


def _rebuilt(value: Any, made: dict[int, Any]) -> Any:
    """A copy of the modules for another thread, without what their layers keep for a backward.

    ``made`` maps ids to copies: the caller fills in the parameters, this function adds each module.
    """
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, Module):
        twin = made[id(value)] = object.__new__(type(value))
        vars(twin).update({name: _rebuilt(held, made) for name, held in vars(value).items() if name != "_kept"})
        return twin
    if isinstance(value, Tensor | np.random.Generator):  # buffers and generators change as they are used
        made[id(value)] = copy.deepcopy(value)
        return made[id(value)]
    if isinstance(value, list | tuple):
        items = [_rebuilt(item, made) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: _rebuilt(item, made) for key, item in value.items()}
    return value
