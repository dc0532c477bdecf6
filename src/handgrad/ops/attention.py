"""Scaled dot-product attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1)."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from handgrad.ops.dropout import DropoutSaved, dropout, dropout_backward
from handgrad.ops.precision import Precision, check_precision, product
from handgrad.ops.shapes import Kind, kind_of, largest, unbroadcast
from handgrad.ops.softmax import SoftmaxSaved, softmax_backward
from handgrad.system.arrays import Array


class AttentionSaved(NamedTuple):
    """The inputs, the weights (..., T, S) as softmax gave them, the scale, the weights after dropout, shape and
    dtype of a floating mask, and the precision of the products.
    """

    q: Array
    k: Array
    v: Array
    weights: Array
    scale: float
    dropped: Array
    dropout: DropoutSaved
    mask: Kind
    precision: Precision


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    causal: bool = True,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    window: int = 0,
    scale: float | None = None,
    precision: Precision = "float32",
) -> tuple[Array, AttentionSaved]:
    """softmax(q kᵀ / √D + mask) v: each query averages the values, weighted by how well it matches their keys.

    q (..., T, D), k (..., S, D), v (..., S, E), leading axes broadcast; returns y (..., T, E). If ``causal``, the
    T queries are the last of S positions and see no later key: query t attends to s ≤ t + S - T. If ``window`` is
    above 0 as well, it sees only the last so many of those keys (Beltagy et al. 2020). ``scale`` takes the place of
    1 / √D. ``mask`` broadcasts to (..., T, S). A boolean mask is true where attending is allowed; a floating mask is
    added to the scores, and is a differentiable input. A query that may attend to nothing gets zeros. Each weight is
    dropped with probability ``dropout_p``, drawn by ``rng``. ``precision``: of all products, see ``ops.precision``.

    Raises ValueError for more causal queries than keys, for a window without ``causal``, a scale that is not above 0
    or an unknown precision; TypeError for a mask that is neither boolean nor floating.
    """
    T, S = q.shape[-2], k.shape[-2]
    if T > S and causal:
        raise ValueError(f"attention: {T} queries cannot be the last of {S} positions")
    check_attention("attention", causal, window, scale)
    check_precision("attention", precision)
    scale = default_scale(q.shape[-1]) if scale is None else scale
    scores = product(q, k.swapaxes(-1, -2), precision)
    scores *= scale
    if causal:
        scores += np.asarray(_causal_bias(T, S, window, scores.dtype.char), like=scores)
    if mask is not None:
        if mask.dtype.kind not in "bf":
            raise TypeError(f"attention: mask must be boolean (true: may attend) or floating (added), not {mask.dtype}")
        bias = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
        scores = scores + bias.astype(scores.dtype)
    weights = _softmax_or_zero(scores)
    dropped, dropout_saved = dropout(weights, dropout_p, training=dropout_p > 0, rng=rng)
    saved = AttentionSaved(q, k, v, weights, scale, dropped, dropout_saved, kind_of(mask), precision)
    return product(dropped, v, precision), saved


def attention_backward(dy: Array, saved: AttentionSaved) -> tuple[Any, ...]:
    """Gradients of attention for q, k and v, and for a floating mask.

    With S = q kᵀ / √D + mask, P = softmax(S) by rows and y = P v, from the end to the beginning:
        y_te = Σ_s P_ts v_se      so  dP = dy vᵀ   and  dv = Pᵀ dy
        P = softmax(S)            so  dS_ts = P_ts (dP_ts - Σ_j dP_tj P_tj)
        S_ts = Σ_d q_td k_sd/√D   so  dq_td = Σ_s dS_ts k_sd / √D,   dq = dS k / √D
                                      dk_sd = Σ_t dS_ts q_td / √D,   dk = dSᵀ q / √D.
    dk has the transpose because a key's gradient sums over the queries that attended to it. Masked scores have P = 0,
    hence dS = 0. Dropout on P comes between the first line and the second. A floating mask is added to S: it gets dS.
    """
    q, k, v, weights, scale, dropped, dropout_saved, mask, precision = saved
    dv = product(dropped.swapaxes(-1, -2), dy, precision)
    d_weights = dropout_backward(product(dy, v.swapaxes(-1, -2), precision), dropout_saved)
    d_scores = softmax_backward(d_weights, SoftmaxSaved(weights, -1))
    d_mask = None if mask is None else unbroadcast(d_scores.copy(), mask)
    d_scores *= scale
    dq = product(d_scores, k, precision)
    dk = product(d_scores.swapaxes(-1, -2), q, precision)
    # If leading axes were broadcast, as for heads that share keys, unbroadcast sums over all uses.
    gradients = tuple(unbroadcast(d, kind_of(x)) for d, x in ((dq, q), (dk, k), (dv, v)))
    return gradients if mask is None else (*gradients, d_mask)


def check_attention(operation: str, causal: bool, window: int, scale: float | None) -> None:
    """Raises the errors that attention lists for a window and a scale."""
    if window < 0 or (window and not causal):
        raise ValueError(f"{operation}: window must be at least 0, and 0 without causal, not {window}")
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"{operation}: scale must be a finite number above 0, not {scale}")


def default_scale(head_dim: int) -> float:
    """1 / √D, which keeps the variance of q · k near 1 if the components of q and k have variance 1."""
    return 1 / math.sqrt(head_dim) if head_dim else 1.0


def _softmax_or_zero(scores: Array) -> Array:
    """Softmax over the last axis, in place; rows of -inf alone become zeros instead of NaN."""
    top = largest(scores, -1)
    scores -= np.where(top == -np.inf, 0, top)
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    scores /= np.where(total == 0, 1, total)
    return scores


@lru_cache(maxsize=16)
def _causal_bias(T: int, S: int, window: int, dtype: str) -> Array:
    """(T, S): 0 where query t may see key s, -inf elsewhere. Callers share it, so nobody may write to it."""
    later = np.arange(S) - np.arange(S - T, S)[:, None]  # by how many positions key s comes after query t
    seen = (later <= 0) & (later > -window) if window else later <= 0
    bias = np.where(seen, 0, -np.inf).astype(dtype)
    bias.flags.writeable = False
    return bias
