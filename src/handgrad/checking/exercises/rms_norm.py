"""x over its root mean square, times a weight: every x moves its row, all rows share the weight.

From Zhang & Sennrich 2019 (https://arxiv.org/abs/1910.07467, equation 4): layer norm without the mean and the bias.
"""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def rms_norm(x: Array, weight: Array, eps: float = 1e-5) -> tuple[Array, tuple[Any, ...]]:
    """x / √(mean x² + eps) · weight, the mean over the last axis; x (..., C), weight (C,)."""
    inverse_rms = 1 / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps)
    return x * inverse_rms * weight, (x, weight, inverse_rms)


def rms_norm_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array]:
    """Gradients of rms_norm for x and weight, in this order: dx, d_weight."""
    raise NotImplementedError("rms_norm_backward is not yet written")
