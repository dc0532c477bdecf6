"""Causal attention without the upper half of the scores, compiled. Defined by ``ops.attention``.

The kernel takes each head in blocks of queries. A block sees no key after its own end, so those products are never
computed, and its scores are still in the core's cache when softmax reads them.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import matrices_of
from handgrad.kernels.exponential import exp32
from handgrad.kernels.products import (
    COLUMNS,
    code_of,
    multiply_at_part,
    multiply_bt_part,
    multiply_part,
    new_packed,
    pack,
    pack_t,
)
from handgrad.ops.attention import check_attention, default_scale
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined

_ZERO, _ONE = np.float32(0), np.float32(1)
_MINUS_INFINITY = np.float32(-np.inf)
_SMALLEST_INT, _LARGEST_INT, _SIGN_SHIFT = np.int32(-(2**31)), np.int32(2**31 - 1), np.int32(31)


class Sight(NamedTuple):
    """Which keys a query sees, and how scores are scaled."""

    block: int
    """How many queries form a block."""
    window: int
    """How many keys up to its own a query sees; at least T if there is no window."""
    scale: np.float32


class Saved(NamedTuple):
    """What the backward needs: every head as a matrix (heads, T, size), the weights (heads, T, T), and the
    precision's code.
    """

    q: Array
    k: Array
    v: Array
    weights: Array
    sight: Sight
    precision: int


def takes(
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
) -> bool:
    """Takes causal attention without mask and dropout, with one key and one value for each query."""
    is_plain = mask is None and causal and dropout_p == 0
    return is_plain and q.shape == k.shape and q.shape[:-1] == v.shape[:-1] and q.size > 0 and v.size > 0


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
) -> tuple[Array, Saved]:
    """As ``ops.attention``."""
    check_attention("attention", causal, window, scale)
    y, weights = np.empty(v.shape, v.dtype), new_weights(q.shape[:-1], q.dtype)
    sight = Sight(
        block_size(q.shape[-2]),
        window or q.shape[-2],
        np.float32(default_scale(q.shape[-1]) if scale is None else scale),
    )
    saved = Saved(matrices_of(q), matrices_of(k), matrices_of(v), weights, sight, code_of(precision))
    packed = packed_for_heads(q.shape[-2], q.shape[-1], v.shape[-1], saved.precision)
    _forward(*saved[:3], packed, weights, *sight, saved.precision, matrices_of(y))
    return y, saved


def attention_backward(dy: Array, saved: Saved) -> tuple[Array | None, ...]:
    """As ``ops.attention_backward``."""
    q, k, v, weights, sight, precision = saved
    T = weights.shape[-1]
    gradients = [np.empty_like(x) for x in (q, k, v)]
    packed = packed_for_heads(T, q.shape[-1], v.shape[-1], precision)
    _backward(matrices_of(dy), q, k, v, packed, weights, np.empty((T, T), dy.dtype), *sight, precision, *gradients)
    dq, dk, dv = (gradient.reshape(*dy.shape[:-1], gradient.shape[-1]) for gradient in gradients)
    return dq, dk, dv


def new_weights(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array (heads, T, T) for the weights of all queries (..., T).

    Not all of it above the diagonal, or before the window, gets written.
    """
    return np.empty((math.prod(shape[:-1]), shape[-1], shape[-1]), dtype)


def block_size(T: int) -> int:
    """How many queries form a block: small blocks waste less, large ones multiply faster. A multiple of COLUMNS."""
    return min(-(-max(T // 8, 1) // COLUMNS) * COLUMNS, 128)


def packed_for_heads(T: int, D: int, E: int, precision: int) -> tuple[Array, Array]:
    """Memory in which the kernels pack, in turn, keys, queries (T, D), values and gradients (T, E), as they are or
    transposed.
    """
    shapes = ((T, D), (D, T), (T, E), (E, T))
    return new_packed(precision, *shapes), new_packed(precision, *shapes)


@inlined
def attend(q, k, v, packed, weights, block, window, scale, precision, y):  # type: ignore[no-untyped-def]
    """One head: writes P (T, T) into weights and P v into y."""
    T = q.shape[0]
    packed_k, packed_v = packed
    pack_t(k, packed_k, precision)
    pack(v, packed_v, precision)
    bits = weights.view(np.int32)
    for start in range(0, T, block):
        stop = min(start + block, T)
        first = _first_key(start, block, window)
        seen = weights[start:stop, first:stop]
        multiply_bt_part(q[start:stop], k, packed_k, first, seen, _ZERO, precision)
        for t in range(start, stop):
            unseen = max(t + 1 - window - first, 0)
            softmax_of_row(weights[t, first:stop], bits[t, first:stop], unseen, t + 1 - first, scale)
        multiply_part(seen, v, packed_v, first, y[start:stop], _ZERO, precision)


@inlined
def _first_key(start, block, window):  # type: ignore[no-untyped-def]
    """Where a block of keys begins that holds the first key which the query ``start`` sees."""
    return max(start + 1 - window, 0) // block * block


@inlined
def softmax_of_row(row, bits, unseen, stop, scale):  # type: ignore[no-untyped-def]
    """Scores to weights in place; the query sees the keys from ``unseen`` to before ``stop``. ``bits`` is the same
    memory as integers.
    """
    row[:unseen] = _MINUS_INFINITY
    row[stop:] = _MINUS_INFINITY
    # The largest score, found by comparing bits as integers, which vectorises; a positive NaN is above all.
    largest_bits = _SMALLEST_INT
    for s in range(bits.size):
        largest_bits = max(largest_bits, bits[s] ^ ((bits[s] >> _SIGN_SHIFT) & _LARGEST_INT))
    largest = np.int32(largest_bits ^ ((largest_bits >> _SIGN_SHIFT) & _LARGEST_INT)).view(np.float32)
    if largest == _MINUS_INFINITY:  # nothing to attend to: zeros
        largest = _ZERO
    total = _ZERO
    for s in range(row.size):
        part = exp32((row[s] - largest) * scale)
        row[s] = part
        total += part
    rescale = _ONE if total == _ZERO else _ONE / total
    for s in range(row.size):
        row[s] *= rescale


@inlined
def attend_backward(dy, q, k, v, packed, weights, d_scores, block, window, scale, precision, keep, dq, dk, dv):  # type: ignore[no-untyped-def]
    """One head: writes dq, and dk and dv, to whose contents it adds if ``keep`` is 1.

    ``d_scores`` (T, T) is scratch memory.
    """
    T = q.shape[0]
    first_packed, second_packed = packed
    pack_t(v, first_packed, precision)
    pack(k, second_packed, precision)
    for start in range(0, T, block):
        stop = min(start + block, T)
        first = _first_key(start, block, window)
        of_block = d_scores[start:stop, first:stop]
        multiply_bt_part(dy[start:stop], v, first_packed, first, of_block, _ZERO, precision)
        for t in range(start, stop):
            _softmax_backward(weights[t, first:stop], d_scores[t, first:stop], t + 1 - first, scale)
        multiply_part(of_block, k, second_packed, first, dq[start:stop], _ZERO, precision)
    pack(dy, first_packed, precision)
    pack(q, second_packed, precision)
    for start in range(0, T, block):
        stop = min(start + block, T)
        # The queries of this block and of later ones attend to these keys: those whose first key is not after them.
        end = stop
        while end < T and _first_key(end, block, window) <= start:
            end = min(end + block, T)
        P, dS = weights[start:end, start:stop], d_scores[start:end, start:stop]
        multiply_at_part(P, dy, first_packed, start, dv[start:stop], keep, precision)
        multiply_at_part(dS, q, second_packed, start, dk[start:stop], keep, precision)


@inlined
def _softmax_backward(P, dS, stop, scale):  # type: ignore[no-untyped-def]
    """dP to dS in place; a masked score has P = 0, hence dS = 0."""
    along = _ZERO
    for s in range(stop):
        along += P[s] * dS[s]
    for s in range(stop):
        dS[s] = P[s] * (dS[s] - along) * scale
    dS[stop:] = _ZERO


@compiled
def _forward(q, k, v, packed, weights, block, window, scale, precision, y):  # type: ignore[no-untyped-def]
    for n in range(q.shape[0]):
        attend(q[n], k[n], v[n], packed, weights[n], block, window, scale, precision, y[n])


@compiled
def _backward(dy, q, k, v, packed, weights, d_scores, block, window, scale, precision, dq, dk, dv):  # type: ignore[no-untyped-def]
    for n in range(q.shape[0]):
        P, d = weights[n], dy[n]
        attend_backward(
            d, q[n], k[n], v[n], packed, P, d_scores, block, window, scale, precision, _ZERO, dq[n], dk[n], dv[n]
        )
