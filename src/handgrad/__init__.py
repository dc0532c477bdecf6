"""GPTs with gradients written by hand, on NumPy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad import checking, data, generation, models, nn, optim, plotting, tokenizers, training
    from handgrad.autograd import enable_grad, is_grad_enabled, manual_seed, no_grad
    from handgrad.backend import current_backend, use_backend

__version__ = "0.1.0"

_ROOMS = (
    "autograd", "checking", "data", "generation", "models", "nn", "ops", "optim", "plotting", "tokenizers", "training",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(("enable_grad", "is_grad_enabled", "manual_seed", "no_grad"), "handgrad.autograd"),
    **dict.fromkeys(("current_backend", "use_backend"), "handgrad.backend"),
}

__all__ = [
    "checking",
    "current_backend",
    "data",
    "enable_grad",
    "generation",
    "is_grad_enabled",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "optim",
    "plotting",
    "tokenizers",
    "training",
    "use_backend",
]


def __getattr__(name: str) -> Any:
    """Rooms are entered when they are first named, so that what is not used costs no time and needs no library."""
    if name in _ROOMS:
        return import_module(f"handgrad.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'handgrad' has no attribute {name!r}")
