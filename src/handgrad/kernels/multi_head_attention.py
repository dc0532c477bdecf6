"""Multi-head attention that reads and writes its heads where they lie. Defined by ``ops.multi_head_attention``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import matrices_of
from handgrad.kernels.attention import attend, attend_backward, block_size, new_weights
from handgrad.ops.multi_head_attention import check_heads
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled, inlined


class Saved(NamedTuple):
    """What the backward needs: qkv as matrices (N, T, 3C), and the weights (N · n_head, T, T)."""

    n_head: int
    qkv: Array
    weights: Array


def takes(
    qkv: Array,
    n_head: int,
    mask: Array | None = None,
    causal: bool = True,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> bool:
    """Takes causal attention without mask and dropout."""
    return mask is None and causal and dropout_p == 0 and qkv.size > 0


def multi_head_attention(
    qkv: Array,
    n_head: int,
    mask: Array | None = None,
    causal: bool = True,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Saved]:
    """As ``ops.multi_head_attention``."""
    check_heads(qkv, n_head)
    *leading, T, C = qkv.shape
    qkv = matrices_of(qkv)
    y, weights = np.empty((len(qkv), T, C // 3), qkv.dtype), new_weights((len(qkv), n_head, T), qkv.dtype)
    _forward(qkv, n_head, weights, block_size(T), y)
    return y.reshape(*leading, T, C // 3), Saved(n_head, qkv, weights)


def multi_head_attention_backward(dy: Array, saved: Saved) -> Array:
    """As ``ops.multi_head_attention_backward``."""
    n_head, qkv, weights = saved
    T, d_qkv = weights.shape[-1], np.empty_like(qkv)
    _backward(matrices_of(dy), qkv, n_head, weights, np.empty((T, T), dy.dtype), block_size(T), d_qkv)
    return d_qkv.reshape(*dy.shape[:-1], qkv.shape[-1])


@inlined
def _head(x, n, part, n_head):  # type: ignore[no-untyped-def]
    """A part (T, D) of window n: the heads' queries are parts 0 to n_head - 1, then come their keys and values."""
    D = x.shape[2] // n_head
    return x[n, :, part * D : (part + 1) * D]


@compiled
def _forward(qkv, n_head, weights, block, y):  # type: ignore[no-untyped-def]
    for n in range(qkv.shape[0]):
        for h in range(n_head):
            q = _head(qkv, n, h, 3 * n_head)
            k = _head(qkv, n, n_head + h, 3 * n_head)
            v = _head(qkv, n, 2 * n_head + h, 3 * n_head)
            attend(q, k, v, weights[n * n_head + h], block, _head(y, n, h, n_head))


@compiled
def _backward(dy, qkv, n_head, weights, d_scores, block, d_qkv):  # type: ignore[no-untyped-def]
    for n in range(qkv.shape[0]):
        for h in range(n_head):
            q = _head(qkv, n, h, 3 * n_head)
            k = _head(qkv, n, n_head + h, 3 * n_head)
            v = _head(qkv, n, 2 * n_head + h, 3 * n_head)
            dq = _head(d_qkv, n, h, 3 * n_head)
            dk = _head(d_qkv, n, n_head + h, 3 * n_head)
            dv = _head(d_qkv, n, 2 * n_head + h, 3 * n_head)
            P = weights[n * n_head + h]
            attend_backward(_head(dy, n, h, n_head), q, k, v, P, d_scores, block, dq, dk, dv)
