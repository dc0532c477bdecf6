"""Multi-head self-attention between its two projections (Vaswani et al. 2017, section 3.2.2)."""

import math
from typing import Any

import numpy as np

from handgrad.arrays import Array
from handgrad.ops.attention import attention, attention_backward


def multi_head_attention(
    qkv: Array,
    n_head: int,
    mask: Array | None = None,
    causal: bool = True,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple[Any, ...]]:
    """Attention in n_head subspaces of one fused projection.

    qkv (..., T, 3C) holds queries, keys and values side by side, each of n_head heads of D = C / n_head; returns
    y (..., T, C), the heads' outputs side by side. ``mask`` broadcasts to (..., n_head, T, T); the options are
    those of attention.

    Raises ValueError where 3·n_head does not divide the last size.
    """
    check_heads(qkv, n_head)
    q, k, v = (_split_heads(part, n_head) for part in np.split(qkv, 3, axis=-1))
    y, saved = attention(q, k, v, mask, causal, dropout_p, rng)
    return _merge_heads(y), (n_head, saved)


def multi_head_attention_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of multi_head_attention for qkv.

    Splitting and merging heads only move elements, so their backward moves them back; between the two stands
    attention_backward, and q, k and v lie side by side in qkv, so do their gradients.
    """
    n_head, attention_saved = saved
    gradients = attention_backward(_split_heads(dy, n_head), attention_saved)
    return np.concatenate([_merge_heads(gradient) for gradient in gradients], axis=-1)


def check_heads(qkv: Array, n_head: int) -> None:
    """Raises as multi_head_attention says."""
    if qkv.shape[-1] % (3 * n_head):
        raise ValueError(f"multi_head_attention: last size {qkv.shape[-1]} is not a multiple of 3 x {n_head} heads")


def _split_heads(x: Array, n_head: int) -> Array:
    """(..., T, C) as (..., n_head, T, D), a view."""
    return x.reshape(*x.shape[:-1], n_head, x.shape[-1] // n_head).swapaxes(-2, -3)


def _merge_heads(x: Array) -> Array:
    """(..., n_head, T, D) as (..., T, C)."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], math.prod(x.shape[-2:]))
