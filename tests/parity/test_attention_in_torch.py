"""Attention's options against PyTorch: rotations, shared heads, windows, scales, normalised queries and keys."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pair_oracle import LEADING, POSITIVE, SEED, SIZE, Shape, compare, repeatedly
from tape_oracle import agree, draw_array
from torch import Tensor

import handgrad
from handgrad import nn, ops


def turned(x: Tensor, base: float, offset: int = 0) -> Tensor:
    """The rotation as Hugging Face's models write it: x cos + rotate_half(x) sin."""
    T, D = x.shape[-2:]
    frequencies = 1.0 / base ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    angles = torch.outer(torch.arange(offset, offset + T, dtype=torch.float64), frequencies).repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos().to(x.dtype) + torch.cat((-second, first), dim=-1) * angles.sin().to(x.dtype)


@repeatedly
@given(LEADING, SIZE, POSITIVE, st.integers(0, 9), st.sampled_from([2.0, 50.0, 10000.0]), SEED)
def test_rotary(leading: Shape, T: int, half: int, offset: int, base: float, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, T, 2 * half))
    compare(ops.rotary, [x], lambda x: turned(x, base, offset), offset=offset, base=base)
    agree(lambda x: handgrad.rotary(x, offset, base), lambda x: turned(x, base, offset), [x])


@repeatedly
@given(LEADING, POSITIVE, POSITIVE, SIZE, st.integers(1, 4), SEED)
def test_share_heads(leading: Shape, K: int, T: int, D: int, n: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, K, T, D))
    compare(ops.share_heads, [x], lambda x: x.repeat_interleave(n, dim=-3), n_query=n)


def seen(T: int, window: int) -> Tensor:
    """Which keys each query sees."""
    later = torch.arange(T) - torch.arange(T)[:, None]
    return (later <= 0) & (later > -window) if window else later <= 0


@repeatedly
@given(
    st.tuples(st.integers(0, 3), st.integers(1, 6)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 7),
    st.sampled_from([None, 0.3, 2.0]),
    st.sampled_from([None, 1e-5, 0.5]),
    st.sampled_from([None, 50.0]),
    SEED,
)
def test_multi_head_attention(
    sizes: tuple[int, int],
    heads: tuple[int, int, int],
    window: int,
    scale: float | None,
    eps: float | None,
    base: float | None,
    seed: int,
) -> None:
    (B, T), (K, n, half) = sizes, heads
    H, D = K * n, 2 * half
    qkv = np.random.default_rng(seed).standard_normal((B, T, (H + 2 * K) * D))

    def oracle(qkv: Tensor) -> Tensor:
        q, k, v = qkv.split([H * D, K * D, K * D], dim=-1)
        q, k, v = (x.unflatten(-1, (-1, D)).transpose(1, 2) for x in (q, k, v))
        if eps is not None:
            q, k = (F.rms_norm(x, (D,), eps=eps) for x in (q, k))
        if base is not None:
            q, k = turned(q, base), turned(k, base)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen(T, window), scale=scale, enable_gqa=True)
        return y.transpose(1, 2).flatten(2)

    options: dict[str, Any] = {"window": window, "scale": scale, "qk_norm_eps": eps, "rope_base": base}
    compare(ops.multi_head_attention, [qkv], oracle, n_head=H, n_kv_head=K, **options)


@repeatedly
@given(st.integers(1, 6), st.integers(0, 7), st.sampled_from([None, 0.3]), SEED)
def test_attention_with_a_window_and_a_scale(T: int, window: int, scale: float | None, seed: int) -> None:
    q, k, v = (np.random.default_rng([seed, i]).standard_normal((2, 3, T, D)) for i, D in enumerate((4, 4, 5)))

    def oracle(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen(T, window), scale=scale)

    compare(ops.attention, [q, k, v], oracle, window=window, scale=scale)
    agree(lambda q, k, v: handgrad.attention(q, k, v, window=window, scale=scale), oracle, [q, k, v])


def test_fewer_queries_than_keys_count_their_window_from_the_end() -> None:
    q, k, v = (draw_array(i, (2, 3, T, 4), "float64") for i, T in enumerate((3, 7, 7)))
    compare(
        ops.attention,
        [q, k, v],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen(7, 2)[4:]),
        window=2,
    )


def test_scaled_dot_product_attention_shares_heads_and_takes_a_scale_as_pytorch_does() -> None:
    q, k, v = (draw_array(i, (2, H, 5, 4), "float64") for i, H in enumerate((6, 2, 2)))
    for options in ({"enable_gqa": True}, {"enable_gqa": True, "scale": 0.3, "is_causal": True}):
        agree(
            lambda q, k, v, o=options: nn.functional.scaled_dot_product_attention(q, k, v, **o),
            lambda q, k, v, o=options: F.scaled_dot_product_attention(q, k, v, **o),
            [q, k, v],
        )


def test_turned_products_depend_on_the_distance_alone() -> None:
    q, k = np.random.default_rng(0).standard_normal((2, 1, 8))
    products = [float((ops.rotary(q, p, 50.0)[0] @ ops.rotary(k, p + 3, 50.0)[0].T).item()) for p in (0, 1, 10, 1000)]
    assert max(products) - min(products) <= 1e-11 * abs(products[0]) + 1e-11
    assert math.isclose(np.linalg.norm(ops.rotary(q, 5)[0]), np.linalg.norm(q))
