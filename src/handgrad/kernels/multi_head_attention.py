"""Multi-head attention that reads and writes its heads where they lie. Defined by ``ops.multi_head_attention``.

If queries and keys are normalised or turned, one pass writes them, prepared, into an array of their own.
"""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import matrices_of
from handgrad.kernels.attention import Sight, attend, attend_backward, block_size, new_weights, packed_for_heads
from handgrad.kernels.products import code_of
from handgrad.kernels.rotary import turn
from handgrad.ops.attention import check_attention, default_scale
from handgrad.ops.multi_head_attention import check_heads
from handgrad.ops.precision import Precision
from handgrad.ops.rotary import angles, check_rotary
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ZERO, _ONE = np.float32(0), np.float32(1)
_NO_ANGLES, _NO_NORMS = np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32)


class Saved(NamedTuple):
    """What the backward needs: queries and keys as attention used them (N, T, at least (H + K) D), qkv as matrices
    (N, T, (H + 2K) D), the weights (N H, T, T), and how queries and keys were prepared.
    """

    n_head: int
    n_kv_head: int
    qk: Array
    qkv: Array
    weights: Array
    sight: Sight
    inverse_rms: Array
    """(N, T, H + K), empty without a norm."""
    cos: Array
    """(T, D/2), empty without a rotation."""
    sin: Array
    precision: int
    """Its code."""


def takes(
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
) -> bool:
    """Takes causal attention without mask and dropout."""
    return mask is None and causal and dropout_p == 0 and qkv.size > 0


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
) -> tuple[Array, Saved]:
    """As ``ops.multi_head_attention``."""
    H, K = check_heads(qkv.shape[-1], n_head, n_kv_head)
    check_attention("attention", causal, window, scale)
    *leading, T, size = qkv.shape
    D = size // (H + 2 * K)
    qkv = qk = matrices_of(qkv)
    N, dtype = len(qkv), qkv.dtype
    inverse_rms, cos, sin = _NO_NORMS, _NO_ANGLES, _NO_ANGLES
    if rope_base is not None:
        check_rotary("rotary", D)
        cos, sin = angles(T, D, 0, rope_base, dtype.char)
    if qk_norm_eps is not None:
        inverse_rms = np.empty((N, T, H + K), dtype)
    if qk_norm_eps is not None or rope_base is not None:
        qk = np.empty((N, T, (H + K) * D), dtype)
        _prepare(qkv, D, np.float32(qk_norm_eps or 0), inverse_rms, cos, sin, qk)
    y, weights = np.empty((N, T, H * D), dtype), new_weights((N, H, T), dtype)
    sight = Sight(block_size(T), window or T, np.float32(default_scale(D) if scale is None else scale))
    code = code_of(precision)
    _forward(qk, qkv, H, K, D, packed_for_heads(T, D, D, code), weights, *sight, code, y)
    return y.reshape(*leading, T, H * D), Saved(H, K, qk, qkv, weights, sight, inverse_rms, cos, sin, code)


def multi_head_attention_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.multi_head_attention_backward``."""
    H, K, qk, qkv, weights, sight, inverse_rms, cos, sin, precision = saved
    T, d_qkv = weights.shape[-1], np.empty_like(qkv)
    D = qkv.shape[-1] // (H + 2 * K)
    packed, d_scores = packed_for_heads(T, D, D, precision), np.empty((T, T), dy.dtype)
    _backward(matrices_of(dy), qk, qkv, H, K, D, packed, weights, d_scores, *sight, precision, d_qkv)
    if qk is not qkv:
        _prepare_backward(d_qkv, qk, D, inverse_rms, cos, sin)
    return d_qkv.reshape(*dy.shape[:-1], qkv.shape[-1])


@inlined
def prepare_part(x, norms, eps, turns, cos, sin, y):  # type: ignore[no-untyped-def]
    """Writes one query or key x (D,), normalised and turned if asked, into y, which may be x.

    Returns the factor of the norm.
    """
    factor = _ONE
    if norms:
        squares = _ZERO
        for i in range(x.size):
            squares += x[i] * x[i]
        factor = _ONE / np.sqrt(squares * (_ONE / np.float32(x.size)) + eps)
    for i in range(x.size):
        y[i] = x[i] * factor
    if turns:
        turn(y, cos, sin, False, y)
    return factor


@compiled
def _prepare(qkv, D, eps, inverse_rms, cos, sin, qk):  # type: ignore[no-untyped-def]
    """Writes queries and keys, normalised if ``inverse_rms`` has elements and turned if there are angles, into qk."""
    norms, turns = inverse_rms.size > 0, cos.size > 0
    for n in range(qk.shape[0]):
        for t in range(qk.shape[1]):
            c, s = (cos[t], sin[t]) if turns else (qk[n, t], qk[n, t])
            for part in range(qk.shape[2] // D):
                x, y = qkv[n, t, part * D : (part + 1) * D], qk[n, t, part * D : (part + 1) * D]
                factor = prepare_part(x, norms, eps, turns, c, s, y)
                if norms:
                    inverse_rms[n, t, part] = factor


@compiled
def _prepare_backward(d_qkv, qk, D, inverse_rms, cos, sin):  # type: ignore[no-untyped-def]
    """Gradients of the prepared queries and keys, in the first parts of d_qkv, to those of the projection, in place.

    A norm and then a rotation: turning changes no product of two vectors, so that the part along the normalised vector
    can be removed before the gradient is turned back.
    """
    per_element = _ONE / np.float32(D)
    for n in range(qk.shape[0]):
        for t in range(qk.shape[1]):
            for part in range(qk.shape[2] // D):
                d, y = d_qkv[n, t, part * D : (part + 1) * D], qk[n, t, part * D : (part + 1) * D]
                if inverse_rms.size:
                    along = _ZERO
                    for i in range(D):
                        along += d[i] * y[i]
                    along *= per_element
                    for i in range(D):
                        d[i] = (d[i] - y[i] * along) * inverse_rms[n, t, part]
                if cos.size:
                    turn(d, cos[t], sin[t], True, d)


@inlined
def _head(x, n, part, D):  # type: ignore[no-untyped-def]
    """A part (T, D) of window n: first come the heads' queries, then the keys, then the values."""
    return x[n, :, part * D : (part + 1) * D]


@compiled
def _forward(qk, qkv, H, K, D, packed, weights, block, window, scale, precision, y):  # type: ignore[no-untyped-def]
    for n in range(qkv.shape[0]):
        for h in range(H):
            shared = h // (H // K)
            q, k, v = _head(qk, n, h, D), _head(qk, n, H + shared, D), _head(qkv, n, H + K + shared, D)
            attend(q, k, v, packed, weights[n * H + h], block, window, scale, precision, _head(y, n, h, D))


@compiled
def _backward(dy, qk, qkv, H, K, D, packed, weights, d_scores, block, window, scale, precision, d_qkv):  # type: ignore[no-untyped-def]
    for n in range(qkv.shape[0]):
        for h in range(H):
            shared = h // (H // K)
            q, k, v = _head(qk, n, h, D), _head(qk, n, H + shared, D), _head(qkv, n, H + K + shared, D)
            dq, dk, dv = _head(d_qkv, n, h, D), _head(d_qkv, n, H + shared, D), _head(d_qkv, n, H + K + shared, D)
            # The first query head of a group writes the gradients of the shared key and value, the others add to them.
            keep = _ZERO if h % (H // K) == 0 else _ONE
            P, d_heads = weights[n * H + h], _head(dy, n, h, D)
            attend_backward(d_heads, q, k, v, packed, P, d_scores, block, window, scale, precision, keep, dq, dk, dv)
