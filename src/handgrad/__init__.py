"""GPTs with gradients written by hand, on NumPy."""

import builtins
from importlib import import_module
from typing import TYPE_CHECKING, Any

from handgrad.system.version import __version__ as __version__

if TYPE_CHECKING:
    from handgrad import (
        autograd,
        benchmarking,
        checking,
        data,
        generation,
        models,
        nn,
        ops,
        optim,
        plotting,
        runs,
        tokenizers,
        training,
    )
    from handgrad.autograd import *
    from handgrad.autograd.functions import *
    from handgrad.system.backend_setting import current_backend, use_backend
    from handgrad.system.state_files import load, save

_ROOMS = (
    "autograd", "benchmarking", "checking", "data", "generation", "models", "nn", "ops", "optim", "plotting",
    "runs", "tokenizers", "training",
)  # fmt: skip
# The modules that define public names. Tensors and their functions have the names of NumPy and PyTorch.
_HOMES = (
    "handgrad.autograd",
    "handgrad.autograd.functions",
    "handgrad.system.state_files",
    "handgrad.system.backend_setting",
)
_FROM_HOMES = {
    "handgrad.system.state_files": ("load", "save"),
    "handgrad.system.backend_setting": ("current_backend", "use_backend"),
}


def __getattr__(name: str) -> Any:
    """Imports a room when it is first named, so that unused rooms cost no time and need no library."""
    if name in _ROOMS:
        return import_module(f"handgrad.{name}")
    if name == "__all__":  # `from handgrad import *` must not hide Python's own sum, max, abs
        names = {name for home in _HOMES for name in _names_in(home)}
        return ["nn", "optim", *sorted(name for name in names if not hasattr(builtins, name))]
    if not name.startswith("_"):
        for home in _HOMES:
            if name in _names_in(home):
                return getattr(import_module(home), name)
    raise AttributeError(f"module 'handgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*_ROOMS, "__version__", *(name for home in _HOMES for name in _names_in(home))})


def _names_in(home: str) -> tuple[str, ...]:
    return _FROM_HOMES.get(home) or tuple(import_module(home).__all__)
