"""Multi-head self-attention between its two projections (Vaswani et al. 2017, section 3.2.2)."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.attention import AttentionSaved, attention, attention_backward
from handgrad.ops.attention_heads import (
    MergeHeadsSaved,
    SplitHeadsSaved,
    merge_heads,
    merge_heads_backward,
    split_heads,
    split_heads_backward,
)
from handgrad.system.arrays import Array


class MultiHeadAttentionSaved(NamedTuple):
    """The number of heads, and what attention saved: ``attention.weights`` (..., n_head, T, T)."""

    n_head: int
    attention: AttentionSaved


def multi_head_attention(
    qkv: Array,
    n_head: int,
    mask: Array | None = None,
    causal: bool = True,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, MultiHeadAttentionSaved]:
    """Attention in n_head subspaces of one fused projection.

    qkv (..., T, 3C) holds queries, keys and values side by side, each of n_head heads of D = C / n_head; returns
    y (..., T, C), the heads' outputs side by side. ``mask`` broadcasts to (..., n_head, T, T); the other options are
    those of attention.

    Raises ValueError if 3·n_head does not divide the last size.
    """
    check_heads(qkv, n_head)
    (q, k, v), _ = split_heads(qkv, n_head)
    y, attention_saved = attention(q, k, v, mask, causal, dropout_p, rng)
    merged, _ = merge_heads(y)
    return merged, MultiHeadAttentionSaved(n_head, attention_saved)


def multi_head_attention_backward(dy: Array, saved: MultiHeadAttentionSaved) -> Array:
    """Gradient of multi_head_attention for qkv: by the chain rule, the three backwards in reverse order."""
    n_head, attention_saved = saved
    d_heads = merge_heads_backward(dy, MergeHeadsSaved(n_head))
    dq, dk, dv = attention_backward(d_heads, attention_saved)[:3]
    d_parts = (dq, dk, dv)
    return split_heads_backward(d_parts, SplitHeadsSaved(n_head, n_head))


def check_heads(qkv: Array, n_head: int) -> None:
    """Raises the errors that multi_head_attention lists."""
    if n_head < 1 or qkv.shape[-1] % (3 * n_head):
        raise ValueError(f"multi_head_attention: last size {qkv.shape[-1]} is not a multiple of 3 x {n_head} heads")
