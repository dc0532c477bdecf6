"""Which code runs an operation: the text in ``ops``, or its compiled twin in ``kernels``. The one seam between them.

Layers name an operation by its function in ``ops``; what runs is looked up here, by that name, at each call. Forward
and backward always come from the same place, as the driver keeps the backward it was given.
"""

import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.errors import InputError

Forward = Callable[..., tuple[Any, tuple[Any, ...]]]
Backward = Callable[..., Any]

BACKENDS = ("numpy", "numba")
_forced: str | None = None


def use_backend(name: str | None) -> None:
    """Forces ``numpy`` or ``numba`` for the whole process; None leaves the choice to what is installed.

    Raises InputError for another name, or for numba where it is not installed.
    """
    global _forced
    _forced = None if name is None else _checked(name, "backend")


def current_backend() -> str:
    """The backend in force: the one forced, else HANDGRAD_BACKEND, else numba where it is installed, else numpy."""
    if _forced is not None:
        return _forced
    wanted = os.environ.get("HANDGRAD_BACKEND")
    return _checked(wanted, "HANDGRAD_BACKEND") if wanted else BACKENDS[_has_numba()]


def pair_for(operation: Forward, *inputs: Any) -> tuple[Forward, Backward]:
    """The (forward, backward) that run an operation of ``ops`` on these inputs."""
    name = operation.__name__
    source = _source_of(name, inputs)
    return getattr(source, name), getattr(source, name + "_backward")


def gradients_of(backward: Backward, dy: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a backward returns, as a tuple also where it is a single gradient."""
    gradients = backward(dy, saved)
    return gradients if isinstance(gradients, tuple) else (gradients,)


def function_for(operation: Callable[..., None], *inputs: Any) -> Callable[..., None]:
    """The same for an operation of ``ops`` that has no backward."""
    function: Callable[..., None] = getattr(_source_of(operation.__name__, inputs), operation.__name__)
    return function


def _source_of(name: str, inputs: tuple[Any, ...]) -> ModuleType:
    if current_backend() == "numba":
        kernels = import_module("handgrad.kernels")
        # Compiled code is for float32; float64 is for proofs, and wants the text.
        if hasattr(kernels, name) and all(type(x) is np.ndarray and x.dtype == np.float32 for x in inputs):
            return kernels
    return ops


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
