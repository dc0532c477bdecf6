"""Attention's options in compiled code: shared heads, windows, scales, normalised and turned queries and keys."""

from typing import Any

import numpy as np
import pytest

from handgrad import ops
from handgrad.backend import gradients_of, pair_for, text_pair
from handgrad.checking.kernels import kernel_error

pytest.importorskip("numba")

OPTIONS: list[dict[str, Any]] = [
    {"n_head": 4},
    {"n_head": 6, "n_kv_head": 2},
    {"n_head": 3, "n_kv_head": 1, "window": 7},
    {"n_head": 4, "window": 1},
    {"n_head": 4, "window": 33, "scale": 0.3},
    {"n_head": 4, "qk_norm_eps": 1e-5},
    {"n_head": 4, "rope_base": 100.0},
    {"n_head": 6, "n_kv_head": 3, "window": 40, "qk_norm_eps": 1e-5, "rope_base": 100.0},
]


def both(qkv: np.ndarray, options: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Output and gradient by the kernel in float32, each beside that of the text in float64."""
    kernel, text = pair_for(ops.multi_head_attention, [qkv], options), text_pair(ops.multi_head_attention)
    assert kernel != text
    found = []
    for pair, x in ((kernel, qkv), (text, qkv.astype(np.float64))):
        y, saved = pair.forward(x, **options)
        dy = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32).astype(x.dtype)
        found.append((y, *gradients_of(pair, dy, saved)))
    return list(zip(*found, strict=True))


def projection(T: int, options: dict[str, Any]) -> np.ndarray:
    heads = options["n_head"] + 2 * options.get("n_kv_head", options["n_head"])
    return np.random.default_rng(T).standard_normal((2, T, heads * 6)).astype(np.float32)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("T", [1, 2, 31, 33, 64, 100, 150])
def test_the_kernel_agrees_with_the_text(T: int, options: dict[str, Any]) -> None:
    for compiled, text in both(projection(T, options), options):
        assert kernel_error(compiled, text) <= 1e-5


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_they_agree_for_zeros_and_large_numbers(scale: float, options: dict[str, Any]) -> None:
    qkv = projection(40, options) * np.float32(scale)
    text = text_pair(ops.multi_head_attention)
    for compiled, exact in both(qkv, options):
        assert np.isfinite(compiled).all()
        if scale == 0:
            assert kernel_error(compiled, exact) <= 1e-5
    y, _ = text.forward(qkv, **options)
    (compiled, exact), _ = both(qkv, options)
    assert kernel_error(compiled, exact) <= max(1e-5, 10 * kernel_error(y, exact))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_nan_spreads_to_the_queries_that_see_it(options: dict[str, Any]) -> None:
    qkv = projection(40, options)
    qkv[0, 20] = np.nan
    (compiled, text), _ = both(qkv, options)
    last = 20 + min(options.get("window") or 40, 20)
    assert np.isnan(compiled[0, 20:last]).all()
    assert np.isfinite(compiled[1]).all()
    # The text multiplies a weight of 0 with NaN, too, so that it spreads further; the kernel leaves some products out.
    assert not (np.isnan(compiled) & ~np.isnan(text)).any()


def test_a_window_of_one_returns_the_values() -> None:
    qkv = projection(9, {"n_head": 4})
    (compiled, _), _ = both(qkv, {"n_head": 4, "window": 1})
    np.testing.assert_allclose(compiled, qkv[..., 48:], rtol=1e-6)


def test_a_query_ignores_tokens_before_its_window() -> None:
    options = {"n_head": 4, "window": 35}
    qkv = projection(100, options)
    (before, _), _ = both(qkv, options)
    qkv[:, :20] += 1
    (after, _), _ = both(qkv, options)
    np.testing.assert_array_equal(before[:, 54:], after[:, 54:])
    assert (before[:, 53] != after[:, 53]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_head": 4, "n_kv_head": 3}, "4 query heads cannot share 3 key heads"),
        ({"n_head": 4, "window": -1}, "window must be at least 0"),
        ({"n_head": 4, "scale": 0.0}, "scale must be a finite number above 0"),
        ({"n_head": 24, "rope_base": 100.0}, "the size must be even"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    qkv = np.ones((2, 5, 72), np.float32)
    for dtype in (np.float32, np.float64):
        pair = pair_for(ops.multi_head_attention, [qkv.astype(dtype)], options)
        with pytest.raises(ValueError, match=message):
            pair.forward(qkv.astype(dtype), **options)
