"""The gradients of attention without its softmax."""

import math
from typing import Any

import numpy as np

from handgrad.checking.exercises.linear_attention import linear_attention as linear_attention
from handgrad.system.arrays import Array


def linear_attention_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array, Array]:
    """Gradients of linear_attention for q, k and v.

    With S = q kᵀ / √D where s ≤ t, else 0, and y = S v, from the end to the beginning:
        y_te = Σ_s S_ts v_se           so  dS = dy vᵀ where s ≤ t, else 0, and  dv = Sᵀ dy
        S_ts = Σ_d q_td k_sd / √D      so  dq_td = Σ_s dS_ts k_sd / √D,   dq = dS k / √D
                                           dk_sd = Σ_t dS_ts q_td / √D,   dk = dSᵀ q / √D.
    A masked S_ts is 0 whatever q and k are, so nothing goes back through it. dk has the transpose because a key is
    summed over the queries that looked at it.
    """
    q, k, v, scores = saved
    d_scores = np.tril(dy @ v.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
    return d_scores @ k, d_scores.swapaxes(-1, -2) @ q, scores.swapaxes(-1, -2) @ dy
