"""Attention of new tokens to a cache of keys and values, compiled. Defined by ``ops.cached_attention``.

A few tokens go one by one, by loops that each run once over the cache; many go in blocks, by matrix products.
"""

import numpy as np

from handgrad.kernels.attention import block_size, softmax_of_row
from handgrad.kernels.multi_head_attention import prepare_part
from handgrad.kernels.sgemm import multiply
from handgrad.ops.attention import default_scale
from handgrad.ops.cached_attention import KeysAndValues, check_cached_attention
from handgrad.ops.rotary import angles_at, check_rotary
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ZERO = np.float32(0)
_FEW = 4
"""So many new tokens go one by one: products of so few rows would take longer."""


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
) -> Array:
    """As ``ops.cached_attention``."""
    H, K = check_cached_attention(qkv, cache, n_head, n_kv_head, window, scale)
    B, T, size = qkv.shape
    D, S = size // (H + 2 * K), cache.values.shape[2]
    cos = sin = np.empty((0, 0, 0), np.float32)
    if rope_base is not None:
        check_rotary("rotary", D)
        cos, sin = angles_at(cache.positions[cache.texts][:, None] + np.arange(T), D, rope_base, "f")
    block = 1 if T <= _FEW else min(block_size(T), T)
    _forward(
        qkv := np.array(qkv, order="C"),  # a copy: queries and keys are prepared in place
        *cache[:4],
        (H, K, D),
        (window or S, block),
        np.float32(default_scale(D) if scale is None else scale),
        qk_norm_eps is not None,
        np.float32(qk_norm_eps or 0),
        cos,
        sin,
        np.empty((block, S), np.float32),
        y := np.empty((B, T, H * D), np.float32),
    )
    return y


@inlined
def _prepare_and_keep(row, H, K, D, norms, eps, turns, cos, sin, keys, values, slot):  # type: ignore[no-untyped-def]
    """Prepares the queries and keys of one token's projection in place, and writes keys and values into their slot."""
    for part in range(H + K):
        x = row[part * D : (part + 1) * D]
        prepare_part(x, norms, eps, turns, cos, sin, x)
    for part in range(K):
        k, v = row[(H + part) * D : (H + part + 1) * D], row[(H + K + part) * D : (H + K + part + 1) * D]
        for d in range(D):
            keys[part, d, slot] = k[d]
            values[part, slot, d] = v[d]


@inlined
def attend_to_slots(q, keys, values, first, stop, scale, scores, y):  # type: ignore[no-untyped-def]
    """One query (D,) to the slots from ``first`` to before ``stop`` of keys (D, S) and values (S, D)."""
    D, n = q.size, stop - first
    P = scores[:n]
    P[:] = _ZERO
    for d in range(D):
        component, along = q[d], keys[d, first:stop]
        for s in range(n):
            P[s] += component * along[s]
    softmax_of_row(P, P.view(np.int32), 0, n, scale)
    y[:] = _ZERO
    for s in range(n):
        weight, v = P[s], values[first + s]
        for d in range(D):
            y[d] += weight * v[d]


@compiled
def _forward(qkv, keys, values, texts, used, heads, sight, scale, norms, eps, cos, sin, scores, y):  # type: ignore[no-untyped-def]
    H, K, D = heads
    window, block = sight
    T, turns = qkv.shape[1], cos.size > 0
    for b in range(qkv.shape[0]):
        text = texts[b]
        before = used[text]
        for t in range(T):
            c, s = (cos[b, t], sin[b, t]) if turns else (scores[0], scores[0])
            _prepare_and_keep(qkv[b, t], H, K, D, norms, eps, turns, c, s, keys[text], values[text], before + t)
        for h in range(H):
            k, v = keys[text, h // (H // K)], values[text, h // (H // K)]
            part = slice(h * D, (h + 1) * D)
            for start in range(0, T, block):
                stop = min(start + block, T)
                first, end = max(before + start + 1 - window, 0), before + stop
                if block == 1:
                    attend_to_slots(qkv[b, start, part], k, v, first, end, scale, scores[0], y[b, start, part])
                else:
                    P = scores[: stop - start, : end - first]
                    multiply(qkv[b, start:stop, part], k[:, first:end], P, _ZERO)
                    for t in range(start, stop):
                        row, unseen = P[t - start], max(before + t + 1 - window, 0) - first
                        softmax_of_row(row, row.view(np.int32), unseen, before + t + 1 - first, scale)
                    multiply(P, v[first:end], y[b, start:stop, part], _ZERO)
