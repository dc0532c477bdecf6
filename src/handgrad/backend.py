"""Chooses the code that runs an operation: the NumPy code in ``ops``, or its compiled twin in ``kernels``.

Layers and tensors name an operation by its function in ``ops``. ``pair_for`` decides what runs, once, before the
forward, from the operation and all its arguments. The caller of the forward keeps the pair, so the backward always
comes from the same place. A user's own pair of functions runs as it is, with checks of what it returns.

``outputs_of`` and ``gradients_of`` run the two halves of a pair. They run every operation, so ``watching`` sees all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from handgrad import ops
from handgrad.ops.contract import checked_pair, name_of
from handgrad.system.backend_setting import current_backend
from handgrad.system.threads import Team

Forward = Callable[..., tuple[Any, tuple[Any, ...]]]
Backward = Callable[..., Any]
Operation: TypeAlias = Forward | tuple[Forward, Backward]
"""A function of ``ops``, or a user's own pair of a forward and its backward."""
Function = TypeVar("Function", bound=Callable[..., Any])

_SINGLE = np.dtype(np.float32)


class Pair(NamedTuple):
    """The code that runs one call of an operation, forward and backward."""

    name: str
    """The operation's name in ``ops``."""
    forward: Forward
    backward: Backward
    adds_into: bool = False
    """Whether the backward takes ``into`` after dy and saved, arrays to add gradients to."""


def pair_for(operation: Operation, inputs: Sequence[Any], options: Mapping[str, Any]) -> Pair:
    """The pair that runs an operation of ``ops`` on these inputs with these options: a kernel, or the NumPy code.

    A user's own pair runs as it is.
    """
    if isinstance(operation, tuple):
        return Pair(*checked_pair(operation))
    if current_backend() == "numba":
        name = operation.__name__
        kernel = _kernels().KERNELS.get(name)
        if kernel is not None and _may_be_compiled(inputs, options) and kernel.takes(*inputs, **options):
            return Pair(name, kernel.forward, kernel.backward, kernel.adds_into)
    return text_pair(operation)


def text_pair(operation: Forward) -> Pair:
    """The pair that ``ops`` defines, whatever the backend."""
    name = operation.__name__
    return Pair(name, getattr(ops, name), getattr(ops, name + "_backward"))


def check_operation(operation: Any) -> None:
    """Raises TypeError for what is neither an operation of ``ops`` nor a pair."""
    if isinstance(operation, tuple):
        return
    if not callable(operation):
        raise TypeError(
            f"apply: an operation is a pair of functions, (f, f_backward), not a {type(operation).__name__}"
        )
    if operation in _known:
        return
    if not str(getattr(operation, "__module__", "")).startswith("handgrad.ops"):
        name = name_of(operation)
        raise TypeError(
            f"apply: {name} is no operation of handgrad.ops; pass it with its backward, ({name}, {name}_backward)"
        )
    _known.add(operation)


_known: set[Any] = set()
"""Operations of ``ops`` that were checked."""


def function_for(operation: Function, *inputs: Any) -> Function:
    """The code that runs an operation of ``ops`` that has no backward."""
    name = operation.__name__
    function: Function = getattr(ops, name)
    if current_backend() == "numba" and _may_be_compiled(inputs, {}):
        return _kernels().UPDATES.get(name, function)
    return function


def whole_model(name: str) -> ModuleType | None:
    """The module of ``kernels`` that runs a whole model for one token; None if there is none, or if somebody watches
    the model's operations one by one.
    """
    return None if current_backend() != "numba" or _watchers else _kernels().WHOLE_MODELS.get(name)


def products_shared_by(team: Team) -> AbstractContextManager[None]:
    """A context in which the other threads of a team help with the matrix products of the kernels in this thread.

    They do nothing else inside, so it is for a thread that has all the work. Products of float32 are cut into tiles of
    a fixed size, and those of bfloat16 are the same to the last bit as outside. So results do not depend on the size of
    the team. NumPy alone changes nothing here.
    """
    if current_backend() != "numba":
        return nullcontext()
    shared: AbstractContextManager[None] = import_module("handgrad.kernels.products").shared_by(team)
    return shared


def _may_be_compiled(inputs: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """What every kernel requires: NumPy's own arrays, inputs of float32. float64 is for proofs, of the NumPy code."""
    for value in inputs:
        if value is not None and (type(value) is not np.ndarray or value.dtype != _SINGLE):
            return False
    # Options such as ids and masks may be lists or NumPy's arrays, but not arrays of another library.
    return not any(hasattr(x, "__array_function__") and not isinstance(x, np.ndarray) for x in options.values())


@cache
def _kernels() -> ModuleType:
    return import_module("handgrad.kernels")


# -- running, and watching


@dataclass(frozen=True)
class Call:
    """One forward or one backward of an operation, as a watcher sees it."""

    operation: str
    """Its name in ``ops``."""
    is_backward: bool
    inputs: tuple[Any, ...]
    """The inputs of a forward (None if one is left out), or dy and what the forward saved for a backward."""
    options: Mapping[str, Any]
    """The options of a forward; empty for a backward."""
    layer: object | None
    """The ``nn.Layer`` that applied the operation, by hand or on the tape; None for a function of tensors."""


Watcher: TypeAlias = Callable[[Call, Callable[[], Any]], Any]

_watchers: tuple[Watcher, ...] = ()
_changing = Lock()


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Inside this context, ``watcher(call, run)`` wraps every forward and backward, in all threads of the process.

    ``run()`` computes, and returns (output, saved) of a forward or the tuple of gradients of a backward. The watcher
    returns this result or another in its place. A watcher wraps those that were entered before it, and sees what they
    return.
    """
    global _watchers
    with _changing:
        _watchers = (*_watchers, watcher)
    try:
        yield
    finally:
        with _changing:
            last = len(_watchers) - 1 - _watchers[::-1].index(watcher)
            _watchers = _watchers[:last] + _watchers[last + 1 :]


def outputs_of(
    pair: Pair, inputs: Sequence[Any], options: Mapping[str, Any], layer: object | None = None
) -> tuple[Any, tuple[Any, ...]]:
    """Runs the forward of a pair; returns the output and what the backward needs."""
    if not _watchers:
        return pair.forward(*inputs, **options)
    call = Call(pair.name, False, tuple(inputs), options, layer)
    return _watched(call, lambda: pair.forward(*inputs, **options))


def gradients_of(
    pair: Pair, dy: Any, saved: tuple[Any, ...], into: tuple[Any, ...] = (), layer: object | None = None
) -> tuple[Any, ...]:
    """Runs the backward of a pair; returns a tuple of gradients, even if there is only one.

    ``into`` has for each input None or an array. The backward may add the gradient to this array and return the array.
    """
    if not _watchers:
        return _gradients(pair, dy, saved, into)
    call = Call(pair.name, True, (dy, saved), {}, layer)
    return _watched(call, lambda: _gradients(pair, dy, saved, into))


def _gradients(pair: Pair, dy: Any, saved: tuple[Any, ...], into: tuple[Any, ...]) -> tuple[Any, ...]:
    gradients = pair.backward(dy, saved, into) if into and pair.adds_into else pair.backward(dy, saved)
    return gradients if isinstance(gradients, tuple) else (gradients,)


def _watched(call: Call, run: Callable[[], Any]) -> Any:
    for watcher in _watchers:
        run = partial(watcher, call, run)
    return run()
