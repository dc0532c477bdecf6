"""Attention of new tokens to a cache of keys and values, compiled. Defined by ``ops.cached_attention``.

A few tokens go one by one, by loops that run once over the cache; many go in blocks, by matrix products.
"""

import numpy as np

from handgrad.kernels.attention import block_size, softmax_of_row
from handgrad.kernels.multi_head_attention import prepare_part
from handgrad.kernels.products import FLOAT32, multiply, multiply_bt, new_packed
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
        new_packed(FLOAT32, (0, 0)),
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
            keys[part, slot, d] = k[d]
            values[part, slot, d] = v[d]


@inlined
def attend_to_slots(q, keys, values, first, stop, scale, scores, y):  # type: ignore[no-untyped-def]
    """One query (D,) to the slots from ``first`` to before ``stop`` of keys and values (S, D).

    Four slots go into a sum at a time: a sum that waits in memory for each costs more.
    """
    D, n = q.size, stop - first
    P = scores[:n]
    for s in range(0, n - 3, 4):
        k0, k1, k2, k3 = keys[first + s], keys[first + s + 1], keys[first + s + 2], keys[first + s + 3]
        s0, s1, s2, s3 = _ZERO, _ZERO, _ZERO, _ZERO
        for d in range(D):
            s0 += q[d] * k0[d]
            s1 += q[d] * k1[d]
            s2 += q[d] * k2[d]
            s3 += q[d] * k3[d]
        P[s], P[s + 1], P[s + 2], P[s + 3] = s0, s1, s2, s3
    for s in range(n - n % 4, n):
        score, k = _ZERO, keys[first + s]
        for d in range(D):
            score += q[d] * k[d]
        P[s] = score
    softmax_of_row(P, P.view(np.int32), 0, n, scale)
    y[:] = _ZERO
    for s in range(0, n - 3, 4):
        p0, p1, p2, p3 = P[s], P[s + 1], P[s + 2], P[s + 3]
        v0, v1, v2, v3 = values[first + s], values[first + s + 1], values[first + s + 2], values[first + s + 3]
        for d in range(D):
            y[d] = (((y[d] + p0 * v0[d]) + p1 * v1[d]) + p2 * v2[d]) + p3 * v3[d]
    for s in range(n - n % 4, n):
        weight, v = P[s], values[first + s]
        for d in range(D):
            y[d] += weight * v[d]


@compiled
def _forward(qkv, keys, values, texts, used, heads, sight, scale, norms, eps, cos, sin, scores, nothing, y):  # type: ignore[no-untyped-def]
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
                    multiply_bt(qkv[b, start:stop, part], k[first:end], nothing, P, _ZERO, FLOAT32)
                    for t in range(start, stop):
                        row, unseen = P[t - start], max(before + t + 1 - window, 0) - first
                        softmax_of_row(row, row.view(np.int32), unseen, before + t + 1 - first, scale)
                    multiply(P, v[first:end], nothing, y[b, start:stop, part], _ZERO, FLOAT32)
