"""Splits queries, keys and values that lie side by side into heads, and merges heads (Vaswani et al. 2017, 3.2.2).

``split_heads`` comes before attention, ``merge_heads`` after it. Both only move elements; their backwards move the
gradients back.
"""

import math
from typing import NamedTuple

import numpy as np

from handgrad.system.arrays import Array

Gradient = Array | None


class SplitHeadsSaved(NamedTuple):
    """The number of heads of queries, and that of keys and of values."""

    n_head: int
    n_kv_head: int


def split_heads(
    qkv: Array, n_head: int, n_kv_head: int | None = None
) -> tuple[tuple[Array, Array, Array], SplitHeadsSaved]:
    """The three parts of a fused projection, each with an axis for its heads.

    qkv (..., T, (H + 2K) D) holds the queries of H = n_head heads, then the keys and then the values of K = n_kv_head
    heads. K is H by default; a smaller K lets heads share keys and values. Returns q (..., H, T, D),
    k (..., K, T, D) and v (..., K, T, D), as views if the memory allows it: head h of the queries is elements
    hD to (h + 1)D of the last axis.

    Raises ValueError if H + 2K does not divide the last size, or a number of heads is below 1.
    """
    saved = SplitHeadsSaved(n_head, n_head if n_kv_head is None else n_kv_head)
    H, K = saved
    if H < 1 or K < 1:
        raise ValueError(f"split_heads: the numbers of heads must be at least 1, not {H} and {K}")
    if qkv.shape[-1] % (H + 2 * K):
        raise ValueError(f"split_heads: last size {qkv.shape[-1]} is not a multiple of {H} + 2 x {K} heads")
    D = qkv.shape[-1] // (H + 2 * K)
    q, k, v = qkv[..., : H * D], qkv[..., H * D : (H + K) * D], qkv[..., (H + K) * D :]
    return (_apart(q, H), _apart(k, K), _apart(v, K)), saved


def split_heads_backward(d_parts: tuple[Gradient, Gradient, Gradient], saved: SplitHeadsSaved) -> Array:
    """Gradient of split_heads for qkv.

    q_htd = qkv_t,(hD+d), and k and v follow: every element of qkv is one element of one part, so it has that
    element's gradient. The parts' gradients are laid side by side, as the parts were. A part that did not reach the
    loss (None) counts as zeros; at least one of the three must be given.
    """
    some = next(d for d in d_parts if d is not None)
    *leading, _, T, D = some.shape
    H, K = saved
    return np.concatenate(
        [
            np.zeros((*leading, T, n * D), some.dtype, like=some) if d is None else _side_by_side(d)
            for d, n in zip(d_parts, (H, K, K), strict=True)
        ],
        axis=-1,
    )


class SplitOneSaved(NamedTuple):
    """The number of heads."""

    n_head: int


def split_one(x: Array, n_head: int) -> tuple[Array, SplitOneSaved]:
    """A single projection, with an axis for its heads: x (..., T, H D) to (..., H, T, D), for H = n_head heads.

    Raises ValueError if H does not divide the last size.
    """
    if n_head < 1 or x.shape[-1] % n_head:
        raise ValueError(f"split_one: last size {x.shape[-1]} is not a multiple of {n_head} heads")
    return _apart(x, n_head), SplitOneSaved(n_head)


def split_one_backward(dy: Array, saved: SplitOneSaved) -> Array:
    """Every element of x is one element of one head, so it has that element's gradient: the heads side by side."""
    return _side_by_side(dy)


class ShareHeadsSaved(NamedTuple):
    """How many query heads share each head."""

    n_query: int


def share_heads(x: Array, n_query: int) -> tuple[Array, ShareHeadsSaved]:
    """Each head n_query times in a row: keys or values x (..., K, T, D) to (..., K n_query, T, D).

    Head h of the result is head h // n_query of x: so many query heads share it (Ainslie et al. 2023, "GQA").
    """
    return (x if n_query == 1 else np.repeat(x, n_query, axis=-3)), ShareHeadsSaved(n_query)


def share_heads_backward(dy: Array, saved: ShareHeadsSaved) -> Array:
    """Gradient of share_heads for x.

    Head k of x is used n_query times, y_(k n + j) = x_k for j < n, so by the chain rule its gradient is the sum over
    its uses: dx_k = Σ_j dy_(k n + j).
    """
    *leading, H, T, D = dy.shape
    n = saved.n_query
    return dy if n == 1 else dy.reshape(*leading, H // n, n, T, D).sum(axis=-3)


class MergeHeadsSaved(NamedTuple):
    """The number of heads."""

    n_head: int


def merge_heads(y: Array) -> tuple[Array, MergeHeadsSaved]:
    """The outputs of all heads side by side: y (..., H, T, D) to (..., T, H D).

    Raises ValueError if y has fewer than three axes, or no heads.
    """
    if y.ndim < 3 or not y.shape[-3]:
        raise ValueError(f"merge_heads: y must have shape (..., H, T, D) with at least one head, not {y.shape}")
    return _side_by_side(y), MergeHeadsSaved(y.shape[-3])


def merge_heads_backward(dy: Array, saved: MergeHeadsSaved) -> Array:
    """Gradient of merge_heads for y.

    Element (t, hD + d) of the output is y_htd, so y_htd's gradient is element (t, hD + d) of dy: dy, cut into heads.
    """
    return _apart(dy, saved.n_head)


def _apart(x: Array, n_head: int) -> Array:
    """(..., T, n_head D) as (..., n_head, T, D), a view if the memory allows it."""
    return x.reshape(*x.shape[:-1], n_head, x.shape[-1] // n_head).swapaxes(-2, -3)


def _side_by_side(x: Array) -> Array:
    """(..., n_head, T, D) as (..., T, n_head D)."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], math.prod(x.shape[-2:]))
