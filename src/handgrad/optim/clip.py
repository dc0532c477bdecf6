"""Gradient clipping by norm (Pascanu, Mikolov & Bengio 2013)."""

import math
from collections.abc import Iterable

import numpy as np

from handgrad.arrays import Array
from handgrad.nn import Parameter


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients so that their common 2-norm is at most ``max_norm``; returns the norm before.

    ``max_norm=math.inf`` only measures. A norm that is not finite scales nothing: it is the caller's to see.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(_sum_of_squares(gradient) for gradient in gradients))
    if math.isfinite(norm) and norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / (norm + 1e-6)  # PyTorch's guard against dividing by zero
    return norm


def _sum_of_squares(gradient: Array) -> float:
    flat = gradient.reshape(-1)
    with np.errstate(over="ignore"):
        total = float(flat @ flat)
    # float32 squares overflow from 1.8e19 on: such gradients are large, not infinite.
    return total if math.isfinite(total) else float(np.square(flat, dtype=np.float64).sum())
