"""Attention over a cache: the text beside multi_head_attention of the whole sequence, the kernel beside the text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handgrad import ops
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.system.arrays import Array

OPTIONS: list[dict[str, Any]] = [
    {"n_head": 3},
    {"n_head": 4, "n_kv_head": 2, "scale": 0.7},
    {"n_head": 3, "n_kv_head": 1, "window": 4},
    {"n_head": 2, "rope_base": 50.0},
    {"n_head": 6, "n_kv_head": 3, "window": 9, "qk_norm_eps": 1e-3, "rope_base": 50.0},
]
PIECES = ([1] * 23, [23], [7, 1, 1, 2, 9, 3], [1, 22], [5, 6, 1, 11])
D = 6


def new_cache(texts: int, slots: int, options: dict[str, Any], dtype: Any = np.float64) -> KeysAndValues:
    K = options.get("n_kv_head", options["n_head"])
    keys, values = np.full((2, texts, K, slots, D), np.nan, dtype)
    return KeysAndValues(keys, values, np.arange(texts), np.zeros(texts, int), np.zeros(texts, int))


def projections(B: int, T: int, options: dict[str, Any]) -> Array:
    heads = options["n_head"] + 2 * options.get("n_kv_head", options["n_head"])
    return np.random.default_rng(T).standard_normal((B, T, heads * D))


def in_pieces(
    attend: Callable[..., Array], qkv: Array, pieces: list[int], cache: KeysAndValues, options: dict[str, Any]
) -> Array:
    found, start = [], 0
    for length in pieces:
        found.append(attend(qkv[:, start : start + length], cache, **options))
        cache.used[cache.texts] += length
        cache.positions[cache.texts] += length
        start += length
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("pieces", PIECES, ids=str)
def test_a_text_in_pieces_is_the_whole_text(pieces: list[int], options: dict[str, Any]) -> None:
    qkv = projections(2, 23, options)
    whole, _ = ops.multi_head_attention(qkv, **options)
    found = in_pieces(ops.cached_attention, qkv, pieces, new_cache(2, 23, options), options)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_texts_of_different_lengths_share_a_call(options: dict[str, Any]) -> None:
    qkv, cache = projections(3, 12, options), new_cache(5, 30, options)
    whole, _ = ops.multi_head_attention(qkv, **options)
    # Row 0 of the cache is not used; the texts lie in rows 4, 1 and 2, and have 5, 1 and 3 tokens.
    lengths, rows = [5, 1, 3], [4, 1, 2]
    for b, (length, row) in enumerate(zip(lengths, rows, strict=True)):
        alone = cache._replace(texts=np.array([row]))
        in_pieces(ops.cached_attention, qkv[b : b + 1, :length], [length], alone, options)
    together = cache._replace(texts=np.array(rows))
    new = np.stack([qkv[b, length : length + 7] for b, length in enumerate(lengths)])
    y = ops.cached_attention(new, together, **options)
    for b, length in enumerate(lengths):
        np.testing.assert_allclose(y[b], whole[b, length : length + 7], rtol=0, atol=1e-13)
    assert cache.used.tolist() == [0, 1, 3, 0, 5]
    assert np.isnan(cache.keys[0]).all()


def test_positions_may_be_beyond_the_slots() -> None:
    options = {"n_head": 2, "rope_base": 50.0, "window": 5}
    qkv = projections(1, 20, options)
    whole, _ = ops.multi_head_attention(qkv, **options)
    cache = new_cache(1, 12, options)
    in_pieces(ops.cached_attention, qkv[:, :10], [10], cache, options)
    for each in (cache.keys, cache.values):  # forgets all but the last four, which a window still sees
        each[..., :4, :] = each[..., 6:10, :].copy()
    cache.used[:] = 4
    y = in_pieces(ops.cached_attention, qkv[:, 10:18], [1, 3, 4], cache, options)
    np.testing.assert_allclose(y, whole[:, 10:18], rtol=0, atol=1e-13)


def test_too_few_slots_are_refused() -> None:
    cache = new_cache(2, 4, {"n_head": 2})
    cache.used[1] = 2
    with pytest.raises(ValueError, match="cached_attention: 5 tokens are more than the cache's 4 slots"):
        ops.cached_attention(projections(2, 3, {"n_head": 2}), cache, n_head=2)
    for wrong in (cache._replace(keys=cache.keys[:, :1]), cache._replace(values=cache.values[..., :3])):
        with pytest.raises(ValueError, match=r"keys and values must have shape \(2, 2, 4, 6\)"):
            ops.cached_attention(projections(2, 1, {"n_head": 2}), wrong, n_head=2)
    with pytest.raises(ValueError, match="qkv has 1 texts, and the cache 2"):
        ops.cached_attention(projections(1, 1, {"n_head": 2}), cache, n_head=2)
    with pytest.raises(ValueError, match="window must be at least 0"):
        ops.cached_attention(projections(2, 1, {"n_head": 2}), cache, n_head=2, window=-1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("pieces", [[1] * 23, [23], [9, 1, 4, 9]], ids=str)
def test_the_kernel_agrees_with_the_text(pieces: list[int], options: dict[str, Any]) -> None:
    kernels = pytest.importorskip("handgrad.kernels", reason="Numba is not installed")
    qkv = projections(2, 23, options)
    before = qkv.astype(np.float32)
    kept, text = new_cache(2, 23, options, np.float32), new_cache(2, 23, options)
    found = in_pieces(kernels.UPDATES["cached_attention"], before, pieces, kept, options)
    whole = in_pieces(ops.cached_attention, qkv, pieces, text, options)
    assert found.dtype == np.float32
    assert np.abs(found - whole).max() <= 1e-5 * np.abs(whole).max()
    np.testing.assert_allclose(kept.keys, text.keys, rtol=0, atol=1e-5)
    np.testing.assert_allclose(kept.values, text.values, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(before, qkv.astype(np.float32))  # the input stays as it is


def test_the_kernel_spreads_nan_to_those_who_see_it() -> None:
    kernels = pytest.importorskip("handgrad.kernels", reason="Numba is not installed")
    options = {"n_head": 2, "window": 3}
    qkv = projections(1, 12, options).astype(np.float32)
    qkv[0, 4] = np.nan
    for pieces in ([1] * 12, [12], [5, 7]):
        y = in_pieces(kernels.UPDATES["cached_attention"], qkv, pieces, new_cache(1, 12, options, np.float32), options)
        broken = np.isnan(y).all(axis=(0, 2))
        assert broken[4:7].all()
        if len(pieces) == 12:
            assert broken.sum() == 3
