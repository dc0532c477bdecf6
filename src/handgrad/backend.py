"""Which code runs an operation: the text in ``ops``, or its compiled twin in ``kernels``. The one seam between them.

Layers name an operation by its function in ``ops``; what runs is looked up here, by that name, at each call. Forward
and backward always come from the same place, as the driver keeps the backward it was given.
"""

import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from handgrad import ops
from handgrad.errors import InputError

Forward = Callable[..., tuple[Any, tuple[Any, ...]]]
Backward = Callable[..., Any]
Function = TypeVar("Function", bound=Callable[..., Any])
Observer = Callable[[Forward, Backward, tuple[Any, ...]], tuple[Forward, Backward]]

BACKENDS = ("numpy", "numba")
_forced: str | None = None
_observer: Observer | None = None


def use_backend(name: str | None) -> None:
    """Forces ``numpy`` or ``numba`` for the whole process; None leaves the choice to HANDGRAD_BACKEND, which is read
    again, and to what is installed.

    Raises InputError for another name, or for numba where it is not installed.
    """
    global _forced
    _from_environment.cache_clear()
    _forced = None if name is None else _checked(name, "backend")


def current_backend() -> str:
    """The backend in force: the one forced, else HANDGRAD_BACKEND, else numba where it is installed, else numpy."""
    return _from_environment() if _forced is None else _forced


@cache
def _from_environment() -> str:
    wanted = os.environ.get("HANDGRAD_BACKEND")
    return _checked(wanted, "HANDGRAD_BACKEND") if wanted else BACKENDS[_has_numba()]


def pair_for(operation: Forward, *inputs: Any) -> tuple[Forward, Backward]:
    """The (forward, backward) that run an operation of ``ops`` on these inputs."""
    name = operation.__name__
    source = _source_of(name, inputs)
    forward, backward = getattr(source, name), getattr(source, name + "_backward")
    return (forward, backward) if _observer is None else _observer(forward, backward, inputs)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Everywhere in the process, what ``observer`` makes of each pair and its inputs runs in the pair's place: for
    profiles."""
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before


def gradients_of(
    backward: Backward, dy: Any, saved: tuple[Any, ...], into: tuple[Any, ...] | None = None
) -> tuple[Any, ...]:
    """What a backward returns, as a tuple also where it is a single gradient.

    ``into`` has for each input an array that its gradient may be added to, and is itself returned then; or None.
    """
    gradients = backward(dy, saved, into) if into and _takes_into(backward) else backward(dy, saved)
    return gradients if isinstance(gradients, tuple) else (gradients,)


@cache
def _takes_into(backward: Backward) -> bool:
    return "into" in inspect.signature(backward).parameters


def function_for(operation: Function, *inputs: Any) -> Function:
    """The same for an operation of ``ops`` that has no backward."""
    function: Function = getattr(_source_of(operation.__name__, inputs), operation.__name__)
    return function


def _source_of(name: str, inputs: tuple[Any, ...]) -> ModuleType:
    if current_backend() == "numba":
        kernels = _kernels()
        # Compiled code is for float32; float64 is for proofs, and wants the text.
        if hasattr(kernels, name) and all(type(x) is np.ndarray and x.dtype == np.float32 for x in inputs):
            return kernels
    return ops


@cache
def _kernels() -> ModuleType:
    return import_module("handgrad.kernels")


def _checked(name: str, what: str) -> str:
    if name not in BACKENDS:
        raise InputError(f"{what} must be {' or '.join(BACKENDS)}, not {name!r}")
    if name == "numba" and not _has_numba():
        raise InputError(f"{what} is numba, but Numba cannot be imported: pip install numba")
    return name


@cache
def _has_numba() -> bool:
    """Whether Numba is there and works: one that does not fit the NumPy beside it fails when it is imported."""
    if find_spec("numba") is None:
        return False
    try:
        import_module("handgrad.kernels")
    except Exception as error:
        warnings.warn(f"Numba cannot be imported ({error}): handgrad goes on with NumPy alone, slower", stacklevel=2)
        return False
    return True
