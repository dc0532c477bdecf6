"""Applies a pair of ``ops`` to tensors and records it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.autograd.grad_mode import is_grad_enabled
from handgrad.autograd.shared_memory import arrays_in, owner
from handgrad.autograd.tape import Node, Version
from handgrad.autograd.tensor import Tensor
from handgrad.backend import Forward, Operation, outputs_of, pair_for


def apply(operation: Forward, *inputs: Any, **options: Any) -> Tensor:
    """Runs a pair of ``handgrad.ops`` on tensors, arrays and numbers of one dtype, and records it.

    ``inputs`` are the operation's differentiable inputs, in its order; None for one that is missing.
    """
    return record(operation, inputs, options)[0]


def apply_several(operation: Forward, *inputs: Any, **options: Any) -> list[Tensor]:
    """The same for an operation that returns a tuple of arrays."""
    return record(operation, inputs, options)


def record(
    operation: Operation, inputs: Sequence[Any], options: Mapping[str, Any], layer: object | None = None
) -> list[Tensor]:
    """The same for any operation, a user's own pair too. Watchers see ``layer`` as the layer that applied it."""
    tensors = [value for value in (*inputs, *options.values()) if isinstance(value, Tensor)]
    arrays = [value._data if isinstance(value, Tensor) else value for value in inputs]
    plain = {name: value._data if isinstance(value, Tensor) else value for name, value in options.items()}
    recording = is_grad_enabled()
    edges = tuple([value._edge() if recording and isinstance(value, Tensor) else None for value in inputs])
    if not isinstance(operation, tuple) and operation in ops.TAKE_WANTED:
        plain["wanted"] = tuple([edge is not None for edge in edges])
    pair = pair_for(operation, arrays, plain)
    if recording:
        _refuse_to_learn(pair.name, options)
    output, saved = outputs_of(pair, arrays, plain, layer)
    several = isinstance(output, tuple)
    made = [Tensor.holding(np.asarray(array)) for array in (output if several else (output,))]
    memory = [(owner(tensor._data), tensor) for tensor in tensors]
    for tensor in made:
        its_owner = owner(tensor._data)
        source = next((other for its, other in memory if its is its_owner), None)
        if source is not None:
            tensor._looks_at(source, recording)
    # Integers and booleans have no slope: no gradient passes through them.
    floats = [i for i, tensor in enumerate(made) if tensor._data.dtype.kind == "f"]
    if floats and any(edge is not None for edge in edges):
        guards = _guards(saved, [*tensors, *made])
        node = Node(pair.name, pair, saved, edges, guards, [tensor._data for tensor in made], several, layer)
        for i in floats:
            made[i]._requires_grad, made[i]._node, made[i]._output = True, node, i
    return made


def _refuse_to_learn(operation: str, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, Tensor) and value.requires_grad:
            raise RuntimeError(
                f"{operation}: {name} requires a gradient, but gets none here; detach() it, or write the formula with "
                "operations that give it one"
            )


def _guards(saved: tuple[Any, ...], tensors: Sequence[Tensor]) -> tuple[tuple[Version, int], ...]:
    """The versions of the tensors whose memory was saved."""
    held = {id(owner(array)) for array in arrays_in(saved)}
    return tuple([(t._version, t._version.count) for t in tensors if id(owner(t._data)) in held])
