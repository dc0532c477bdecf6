"""The gradient of cross entropy with smoothed labels."""

from typing import Any

import numpy as np

from handgrad.checking.exercises.smoothed_cross_entropy import smoothed_cross_entropy as smoothed_cross_entropy
from handgrad.system.arrays import Array


def smoothed_cross_entropy_backward(d_loss: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of smoothed_cross_entropy for the logits z.

    For one token, L = -Σ_v q_v (z_v - log Σ_j exp z_j) = log Σ_j exp z_j - Σ_v q_v z_v, as the q_v sum to 1. The first
    term's derivative is the softmax p, the second's is q, so
        dz = p - q,
    and each of N tokens weighs d_loss / N.
    """
    log_p, targets, smoothing = saved
    N, V = log_p.shape
    d_logits = np.exp(log_p) - smoothing / V
    d_logits[np.arange(N), targets] -= 1 - smoothing
    return d_logits * (d_loss / N)
