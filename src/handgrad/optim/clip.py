"""Gradient clipping by norm (Pascanu, Mikolov & Bengio 2013)."""

import math
from collections.abc import Iterable

import numpy as np

from handgrad.nn import Parameter
from handgrad.system.arrays import Array


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients so that their common 2-norm is at most ``max_norm``; returns the norm before.

    ``max_norm=math.inf`` only measures. A norm that is not finite scales nothing; the caller must check for it.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: max_norm must be at least 0, not {max_norm}")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.hypot(*(_norm(gradient) for gradient in gradients))
    scale = clip_scale(norm, max_norm)
    if scale != 1:
        for gradient in gradients:
            gradient *= scale
    return norm


def clip_scale(norm: float, max_norm: float) -> float:
    """The factor that clips gradients of that norm; 1 if they are small enough, or not finite."""
    # As PyTorch does, for the same numbers.
    return max_norm / (norm + 1e-6) if math.isfinite(norm) and norm > max_norm else 1.0


def _norm(gradient: Array) -> float:
    flat = gradient.reshape(-1)
    with np.errstate(over="ignore"):
        squares = float(flat @ flat)
    if math.isfinite(squares):
        return math.sqrt(squares)
    # In float32, squares overflow from 1.8e19 on, although such gradients are finite.
    largest = float(np.abs(flat).max())
    if not math.isfinite(largest):
        return largest
    scaled = flat.astype(np.float64) / largest
    return largest * math.sqrt(float(scaled @ scaled))
