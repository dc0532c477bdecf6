"""Multi-head self-attention between its two projections (Vaswani et al. 2017, section 3.2.2)."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.attention import AttentionSaved, attention, attention_backward
from handgrad.ops.attention_heads import (
    MergeHeadsSaved,
    ShareHeadsSaved,
    SplitHeadsSaved,
    merge_heads,
    merge_heads_backward,
    share_heads,
    share_heads_backward,
    split_heads,
    split_heads_backward,
)
from handgrad.ops.precision import Precision
from handgrad.ops.rms_norm import RmsNormSaved, rms_norm, rms_norm_backward
from handgrad.ops.rotary import RotarySaved, rotary, rotary_backward
from handgrad.system.arrays import Array


class PreparedSaved(NamedTuple):
    """What the norm and the rotation of queries or keys saved; None for one that was left out."""

    norm: RmsNormSaved | None
    rotation: RotarySaved | None


class MultiHeadAttentionSaved(NamedTuple):
    """The numbers of heads, and what each part saved. ``attention.weights`` are (..., n_head, T, T)."""

    heads: SplitHeadsSaved
    query: PreparedSaved
    key: PreparedSaved
    sharing: ShareHeadsSaved
    attention: AttentionSaved


def multi_head_attention(
    qkv: Array,
    mask: Array | None = None,
    *,
    n_head: int,
    n_kv_head: int | None = None,
    causal: bool = True,
    window: int = 0,
    scale: float | None = None,
    qk_norm_eps: float | None = None,
    rope_base: float | None = None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    precision: Precision = "float32",
) -> tuple[Array, MultiHeadAttentionSaved]:
    """Attention in n_head subspaces of one fused projection.

    qkv (..., T, (H + 2K) D) holds the queries of H = n_head heads, then the keys and then the values of K = n_kv_head
    heads (by default H); returns y (..., T, H D), the heads' outputs side by side. Each query and each key
        - is first brought to a root mean square of 1, by rms_norm, if ``qk_norm_eps`` is given (Henry et al. 2020),
        - is then turned by its position, by rotary, if ``rope_base`` is given.
    Query head h then attends to key and value head h // (H / K), so that H / K heads share one (Ainslie et al. 2023).
    ``mask`` broadcasts to (..., H, T, T); the other options are those of attention.

    Raises ValueError if H + 2K does not divide the last size, if K does not divide H, and as rotary and attention do.
    """
    heads = check_heads(qkv.shape[-1], n_head, n_kv_head)
    (q, k, v), _ = split_heads(qkv, *heads)
    q, query_saved = _prepared(q, qk_norm_eps, rope_base)
    k, key_saved = _prepared(k, qk_norm_eps, rope_base)
    (k, _), (v, sharing) = (share_heads(x, n_head // heads.n_kv_head) for x in (k, v))
    y, attention_saved = attention(q, k, v, mask, causal, dropout_p, rng, window, scale, precision)
    merged, _ = merge_heads(y)
    return merged, MultiHeadAttentionSaved(heads, query_saved, key_saved, sharing, attention_saved)


def multi_head_attention_backward(dy: Array, saved: MultiHeadAttentionSaved) -> Array | tuple[Array | None, ...]:
    """Gradients of multi_head_attention for qkv, and for a floating mask: by the chain rule, the backwards of its parts
    in reverse order.
    """
    d_heads = merge_heads_backward(dy, MergeHeadsSaved(saved.heads.n_head))
    dq, dk, dv, *d_mask = attention_backward(d_heads, saved.attention)
    dk, dv = (share_heads_backward(d, saved.sharing) for d in (dk, dv))
    dk = _prepared_backward(dk, saved.key)
    dq = _prepared_backward(dq, saved.query)
    d_qkv = split_heads_backward((dq, dk, dv), saved.heads)
    return (d_qkv, *d_mask) if d_mask else d_qkv


def check_heads(size: int, n_head: int, n_kv_head: int | None) -> SplitHeadsSaved:
    """The numbers of heads of queries, and of keys and values. Raises the errors that multi_head_attention lists."""
    K = n_head if n_kv_head is None else n_kv_head
    if n_head < 1 or K < 1 or n_head % K:
        raise ValueError(f"multi_head_attention: {n_head} query heads cannot share {K} key heads evenly")
    if size % (n_head + 2 * K):
        raise ValueError(f"multi_head_attention: last size {size} is not a multiple of {n_head} + 2 x {K} heads")
    return SplitHeadsSaved(n_head, K)


def _prepared(x: Array, qk_norm_eps: float | None, rope_base: float | None) -> tuple[Array, PreparedSaved]:
    norm_saved, rotation_saved = None, None
    if qk_norm_eps is not None:
        x, norm_saved = rms_norm(x, None, qk_norm_eps)
    if rope_base is not None:
        x, rotation_saved = rotary(x, base=rope_base)
    return x, PreparedSaved(norm_saved, rotation_saved)


def _prepared_backward(dy: Array, saved: PreparedSaved) -> Array:
    if saved.rotation is not None:
        dy = rotary_backward(dy, saved.rotation)
    if saved.norm is not None:
        dy = rms_norm_backward(dy, saved.norm)[0]
    return dy
