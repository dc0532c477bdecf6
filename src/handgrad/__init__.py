"""GPTs with gradients written by hand, on NumPy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad import checking, data, generation, models, nn, optim, plotting, tokenizers, training
    from handgrad.autograd import enable_grad, is_grad_enabled, manual_seed, no_grad

__version__ = "0.1.0"

_ROOMS = (
    "autograd", "checking", "data", "generation", "models", "nn", "ops", "optim", "plotting", "tokenizers", "training",
)  # fmt: skip
_FROM_AUTOGRAD = ("enable_grad", "is_grad_enabled", "manual_seed", "no_grad")

__all__ = [
    "checking",
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
]


def __getattr__(name: str) -> Any:
    """Rooms are entered when they are first named, so that what is not used costs no time and needs no library."""
    if name in _ROOMS:
        return import_module(f"handgrad.{name}")
    if name in _FROM_AUTOGRAD:
        return getattr(import_module("handgrad.autograd"), name)
    raise AttributeError(f"module 'handgrad' has no attribute {name!r}")
