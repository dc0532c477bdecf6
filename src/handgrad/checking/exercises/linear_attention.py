"""Causal attention without its softmax: matrix products, and where a transpose belongs.

From Katharopoulos et al. 2020 (https://arxiv.org/abs/2006.16236), here without feature maps and normaliser. A published
GPT had this gradient wrong for the keys, with every shape right.
"""

import math
from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def linear_attention(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Any, ...]]:
    """(q kᵀ ⊙ mask / √D) v; q and k (B, T, D), v (B, T, E), y (B, T, E). mask (T, T) is 1 where s ≤ t, else 0:

    y_t = Σ_{s≤t} (q_t · k_s) / √D · v_s.
    """
    scores = np.tril(q @ k.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
    return scores @ v, (q, k, v, scores)


def linear_attention_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array, Array]:
    """Gradients of linear_attention for q, k and v, in this order: dq, dk, dv."""
    raise NotImplementedError("linear_attention_backward is not yet written")
