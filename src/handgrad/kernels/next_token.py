"""A whole GPT for one token of each text, in one compiled call. Defined by ``models.GPT.forward`` with a ``kv_cache``.

A single token is so little arithmetic that Python, which calls each part of the model, would take most of the time.
The parts here are those of the other kernels, and the order is that of the model. Several threads compute columns of
their own of every product, and meet before they read one another's. The bits of a text depend neither on the number of
threads nor on the other texts.
"""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.cached_attention import attend_to_slots
from handgrad.kernels.exponential import tanh32
from handgrad.kernels.gelu import value_of
from handgrad.kernels.meeting import cancel, meet, new_counters
from handgrad.kernels.multi_head_attention import prepare_part
from handgrad.kernels.relu_squared import positive_part
from handgrad.kernels.rows import multiply_rows, multiply_rows_bt
from handgrad.kernels.silu import sigmoid32
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.ops.rotary import angles_at
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, compiled_in_order, inlined
from handgrad.system.threads import ALONE, Team

_ZERO = np.float32(0)
_LINE = 16
"""Elements of float32 in a cache line; a multiple of ``rows.GROUP``."""
_MANY_COLUMNS = 512
"""Fewer columns of a matrix are too short a way for several threads to share: they share the texts, and all read it."""

ACTIVATIONS = {"gelu": 0, "relu": 1, "relu_squared": 2, "silu": 3, "swiglu": 4}
"""The number of each nonlinearity that this kernel has."""
_GELU, _RELU, _RELU_SQUARED, _SILU, _SWIGLU = ACTIVATIONS.values()

OF_BLOCK = (
    "norm_1.weight", "norm_1.bias", "attention.project_in.weight", "attention.project_in.bias",
    "attention.project_out.weight", "attention.project_out.bias", "norm_2.weight", "norm_2.bias",
    "feed_forward.expand.weight", "feed_forward.expand.bias",
    "feed_forward.contract.weight", "feed_forward.contract.bias",
)  # fmt: skip
"""A block's parameters, in the order of ``Weights.of_blocks``."""
OF_MODEL = (
    "token_embedding.weight", "position_embedding.weight", "norm.weight", "norm.bias", "head.weight", "head.bias",
    "token_shift.weight",
)  # fmt: skip
"""The other parameters, in the order of ``Weights.of_model``."""


class Weights(NamedTuple):
    """Where a model's parameters lie: one flat array, and where in it each begins; -1 for one that there is not."""

    data: Array
    of_model: Array
    """(7,)"""
    of_blocks: Array
    """(n_layer, 12)"""


class Kind(NamedTuple):
    """A model's sizes and settings."""

    n_embd: int
    n_head: int
    n_kv_head: int
    head_dim: int
    expanded: int
    """Columns of the feed-forward network's first matrix."""
    hidden: int
    """Rows of its second matrix."""
    vocab_size: int
    rms: bool
    """The norms are RMS norms."""
    activation: int
    qk_norm: bool
    embedding_norm: bool
    embedding_scale: np.float32
    norm_eps: float
    scale: np.float32
    """Of the attention scores."""
    cap: np.float32
    """Of the logits; 0 for none."""


def next_token_logits(
    weights: Weights,
    kind: Kind,
    ids: Array,
    cache: KeysAndValues,
    before: Array | None,
    window: int,
    rope_base: float | None,
    team: Team,
) -> tuple[Array, Array | None]:
    """Logits (B, V) after one further token ``ids`` (B,), int64, of each text; and, for a model with ``token_shift``,
    the embedding (B, C) of this token, which takes the place of ``before``, that of the token before it.

    ``cache`` has all layers, keys and values (n_layer, N, K, S, D), and room for the token, whose slots are written;
    the caller counts the token. The threads of ``team`` share the columns of every matrix; or the texts, if these are
    many and the columns few.
    """
    if team.size > 1 and len(ids) >= 2 * team.size and kind.n_embd < _MANY_COLUMNS:
        parts = np.array_split(np.arange(len(ids)), team.size)
        share = [
            (ids[some], cache._replace(texts=cache.texts[some]), None if before is None else before[some])
            for some in parts
        ]
        found = team.map(lambda part: next_token_logits(weights, kind, *part, window, rope_base, ALONE), share)
        together = np.concatenate([logits for logits, _ in found])
        return together, None if before is None else np.concatenate([last for _, last in found])
    B, S, C, H, K, D = len(ids), cache.values.shape[-2], kind.n_embd, kind.n_head, kind.n_kv_head, kind.head_dim
    positions = cache.positions[cache.texts]
    cos = sin = np.empty((0, 0), np.float32)
    if rope_base is not None:
        cos, sin = angles_at(positions, D, rope_base, "f")
    x, qkv, y, expanded, activated, logits = (
        np.empty((B, columns), np.float32)
        for columns in (C, (H + 2 * K) * D, H * D, kind.expanded, kind.hidden, kind.vocab_size)
    )
    normed, branch = np.empty((2, team.size, B, C), np.float32)
    previous = np.empty((0, C), np.float32) if before is None else before
    embedded = np.empty_like(previous)
    scores = np.empty((team.size, S), np.float32)
    counters = new_counters(team.size)

    def run(thread: int) -> None:
        _forward(
            *weights, kind, ids, *cache[:4], positions, window or S, cos, sin, previous, embedded, x, qkv, y, expanded,
            activated, normed[thread], branch[thread], scores[thread], counters, thread, team.size, logits,
        )  # fmt: skip

    if team.size == 1:
        run(0)
    else:
        team.together(run, give_up=lambda: cancel(counters))
    return logits, None if before is None else embedded


@compiled_in_order
def _normalise(x, data, weight, bias, rms, eps, y):  # type: ignore[no-untyped-def]
    """y ← the norm of each row of x, with the gain and bias that begin at ``weight`` and ``bias``, if there are any."""
    C = x.shape[1]
    for b in range(x.shape[0]):
        mean = _ZERO
        if not rms:
            total = _ZERO
            for c in range(C):
                total += x[b, c]
            mean = np.float32(np.float64(total) / C)
        squares = _ZERO
        for c in range(C):
            squares += (x[b, c] - mean) * (x[b, c] - mean)
        scale = np.float32(1.0 / np.sqrt(np.float64(squares) / C + eps))
        for c in range(C):
            value = (x[b, c] - mean) * scale
            if weight >= 0:
                value *= data[weight + c]
            if bias >= 0:
                value += data[bias + c]
            y[b, c] = value


@inlined
def _share(total, thread, threads):  # type: ignore[no-untyped-def]
    """Where the columns of a thread begin, in whole cache lines; those of the last end at ``total``."""
    return total if thread == threads else total * thread // threads // _LINE * _LINE


@inlined
def _attend(qkv, kind, shared, turns, cos, sin, k, v, slot, window, scores, y):  # type: ignore[no-untyped-def]
    """One key head of a token: its key and value go into their slot, and the queries that share it attend."""
    H, K, D, eps = kind.n_head, kind.n_kv_head, kind.head_dim, np.float32(kind.norm_eps)
    key, value = qkv[(H + shared) * D : (H + shared + 1) * D], qkv[(H + K + shared) * D :]
    prepare_part(key, kind.qk_norm, eps, turns, cos, sin, key)
    for d in range(D):
        k[slot, d] = key[d]
        v[slot, d] = value[d]
    for h in range(shared * (H // K), (shared + 1) * (H // K)):
        q = qkv[h * D : (h + 1) * D]
        prepare_part(q, kind.qk_norm, eps, turns, cos, sin, q)
        first = max(slot + 1 - window, 0)
        attend_to_slots(q, k, v, first, slot + 1, kind.scale, scores, y[h * D : (h + 1) * D])


@inlined
def _add_bias(y, data, bias, begin, end):  # type: ignore[no-untyped-def]
    if bias >= 0:
        for b in range(y.shape[0]):
            for c in range(begin, end):
                y[b, c] += data[bias + c]


@inlined
def _activate(x, activation, begin, end, y):  # type: ignore[no-untyped-def]
    """Columns of y (B, hidden): the nonlinearity of those of x, or for swiglu of those of both halves of x."""
    hidden = y.shape[1]
    for b in range(x.shape[0]):
        row, out = x[b], y[b]
        if activation == _GELU:
            for h in range(begin, end):
                out[h] = value_of(row[h])
        elif activation == _RELU:
            for h in range(begin, end):
                out[h] = positive_part(row[h])
        elif activation == _RELU_SQUARED:
            for h in range(begin, end):
                positive = positive_part(row[h])
                out[h] = positive * positive
        elif activation == _SILU:
            for h in range(begin, end):
                out[h] = row[h] * sigmoid32(row[h])
        else:
            for h in range(begin, end):
                out[h] = row[h] * sigmoid32(row[h]) * row[hidden + h]


@inlined
def _add(x, y, begin, end):  # type: ignore[no-untyped-def]
    for b in range(x.shape[0]):
        for c in range(begin, end):
            x[b, c] += y[b, c]


@compiled
def _forward(  # type: ignore[no-untyped-def]
    data, of_model, of_blocks, kind, ids, keys, values, texts, used, positions, window, cos, sin, previous, embedded, x,
    qkv, y, expanded, activated, normed, branch, scores, counters, thread, threads, logits,
):  # fmt: skip
    B, C, H, K, D, V = ids.size, kind.n_embd, kind.n_head, kind.n_kv_head, kind.head_dim, kind.vocab_size
    hidden, turns, width = kind.hidden, cos.size > 0, (H + 2 * K) * D
    begin_qkv, end_qkv = _share(width, thread, threads), _share(width, thread + 1, threads)
    begin, end = _share(C, thread, threads), _share(C, thread + 1, threads)
    begin_h, end_h = _share(hidden, thread, threads), _share(hidden, thread + 1, threads)
    for b in range(B):
        row, position = of_model[0] + ids[b] * C, of_model[1] + positions[b] * C
        for c in range(begin, end):
            value = data[row + c] * kind.embedding_scale
            if of_model[1] >= 0:
                value += data[position + c]
            x[b, c] = value
    if kind.embedding_norm:
        meet(counters, thread, threads)
        _normalise(x, data, -1, -1, True, kind.norm_eps, normed)
        meet(counters, thread, threads)
        for b in range(B):
            for c in range(begin, end):
                x[b, c] = normed[b, c]
    if of_model[6] >= 0:
        for b in range(B):
            for c in range(begin, end):
                embedded[b, c] = x[b, c]
                x[b, c] += data[of_model[6] + c] * previous[b, c]
    meet(counters, thread, threads)
    for layer in range(of_blocks.shape[0]):
        at = of_blocks[layer]
        _normalise(x, data, at[0], at[1], kind.rms, kind.norm_eps, normed)
        multiply_rows(normed, data, at[2], begin_qkv, end_qkv, qkv)
        _add_bias(qkv, data, at[3], begin_qkv, end_qkv)
        meet(counters, thread, threads)
        # A key head with the queries that share it is a piece of work for one thread.
        for piece in range(B * K * thread // threads, B * K * (thread + 1) // threads):
            b, shared = piece // K, piece % K
            c, s = (cos[b], sin[b]) if turns else (scores, scores)
            k, v = keys[layer, texts[b], shared], values[layer, texts[b], shared]
            _attend(qkv[b], kind, shared, turns, c, s, k, v, used[texts[b]], window, scores, y[b])
        meet(counters, thread, threads)
        multiply_rows(y, data, at[4], begin, end, branch)
        _add_bias(branch, data, at[5], begin, end)
        _add(x, branch, begin, end)
        meet(counters, thread, threads)
        _normalise(x, data, at[6], at[7], kind.rms, kind.norm_eps, normed)
        multiply_rows(normed, data, at[8], begin_h, end_h, expanded)
        _add_bias(expanded, data, at[9], begin_h, end_h)
        if kind.expanded > hidden:  # swiglu: the gates' partners
            multiply_rows(normed, data, at[8], hidden + begin_h, hidden + end_h, expanded)
            _add_bias(expanded, data, at[9], hidden + begin_h, hidden + end_h)
        _activate(expanded, kind.activation, begin_h, end_h, activated)
        meet(counters, thread, threads)
        multiply_rows(activated, data, at[10], begin, end, branch)
        _add_bias(branch, data, at[11], begin, end)
        _add(x, branch, begin, end)
        meet(counters, thread, threads)
    _normalise(x, data, of_model[2], of_model[3], kind.rms, kind.norm_eps, normed)
    begin_v, end_v = _share(V, thread, threads), _share(V, thread + 1, threads)
    multiply_rows_bt(normed, data, of_model[4], begin_v, end_v, logits)
    _add_bias(logits, data, of_model[5], begin_v, end_v)
    if kind.cap > _ZERO:
        for b in range(B):
            for v in range(begin_v, end_v):
                logits[b, v] = kind.cap * tanh32(logits[b, v] / kind.cap)
