"""Attention of new tokens to themselves and to those that the model has read before, whose keys and values it keeps."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.attention import attention, check_attention
from handgrad.ops.attention_heads import SplitHeadsSaved, merge_heads, share_heads, split_heads
from handgrad.ops.multi_head_attention import check_heads
from handgrad.ops.precision import Precision
from handgrad.ops.rms_norm import rms_norm
from handgrad.ops.rotary import check_rotary, turned_at
from handgrad.system.arrays import Array


class KeysAndValues(NamedTuple):
    """What one layer keeps of N texts, and which B of them are read. Slot s of a text holds the key and the value of a
    token; the first slots are in use.
    """

    keys: Array
    """(N, K, S, D)"""
    values: Array
    """(N, K, S, D)"""
    texts: Array
    """(B,), int64: which text each row of the input belongs to."""
    used: Array
    """(N,), int64: how many slots of each text are in use."""
    positions: Array
    """(N,), int64: the position of each text's next token. It is more than ``used`` if the oldest were forgotten."""


def cached_attention(
    qkv: Array,
    cache: KeysAndValues,
    *,
    n_head: int,
    n_kv_head: int | None = None,
    window: int = 0,
    scale: float | None = None,
    qk_norm_eps: float | None = None,
    rope_base: float | None = None,
    precision: Precision = "float32",
) -> Array:
    """multi_head_attention of T new tokens of each of B texts, which follow those in the cache.

    qkv (B, T, (H + 2K) D) and the options are those of multi_head_attention, always causal; returns y (B, T, H D). The
    new keys and values are written, as attention uses them, into slots ``used`` to ``used`` + T of the cache; ``used``
    and ``positions`` stay as they are. With an empty cache y is multi_head_attention's.

    There is no backward: what is kept has no gradient.

    Raises ValueError if the cache has too few slots or another shape, and as multi_head_attention does.
    """
    heads = check_cached_attention(qkv, cache, n_head, n_kv_head, window, scale)
    (q, k, v), _ = split_heads(qkv, *heads)
    if qk_norm_eps is not None:
        (q, _), (k, _) = (rms_norm(x, None, qk_norm_eps) for x in (q, k))
    T = qkv.shape[1]
    if rope_base is not None:
        check_rotary("rotary", q.shape[-1])
        at = cache.positions[cache.texts][:, None, None] + np.arange(T)
        q, k = (turned_at(x, at, rope_base) for x in (q, k))
    y = np.empty_like(q)
    for b, text in enumerate(cache.texts):
        used = cache.used[text]
        keys, values = cache.keys[text, :, : used + T], cache.values[text, :, : used + T]
        keys[:, used:], values[:, used:] = k[b], v[b]
        (k_all, _), (v_all, _) = (share_heads(x, n_head // heads.n_kv_head) for x in (keys, values))
        y[b] = attention(q[b], k_all, v_all, window=window, scale=scale, precision=precision)[0]
    return merge_heads(y)[0]


def check_cached_attention(
    qkv: Array, cache: KeysAndValues, n_head: int, n_kv_head: int | None, window: int, scale: float | None
) -> SplitHeadsSaved:
    """The numbers of heads of queries, and of keys and values. Raises the errors that cached_attention lists."""
    heads = check_heads(qkv.shape[-1], n_head, n_kv_head)
    check_attention("cached_attention", True, window, scale)
    shape = (len(cache.used), heads.n_kv_head, cache.values.shape[2], qkv.shape[-1] // (n_head + 2 * heads.n_kv_head))
    if cache.keys.shape != shape or cache.values.shape != shape:
        found = f"{cache.keys.shape} and {cache.values.shape}"
        raise ValueError(f"cached_attention: keys and values must have shape {shape}, not {found}")
    if len(cache.texts) != len(qkv):
        raise ValueError(f"cached_attention: qkv has {len(qkv)} texts, and the cache {len(cache.texts)}")
    most, slots = int(cache.used[cache.texts].max(initial=0)) + qkv.shape[1], cache.values.shape[2]
    if most > slots:
        raise ValueError(f"cached_attention: {most} tokens are more than the cache's {slots} slots")
    return heads
