"""The key/value cache: logits with it are those without it, for GPTs of every kind, compiled or not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import handgrad.models.next_token as next_token_module
from handgrad.autograd import Tensor, no_grad
from handgrad.models import GPT, GPTConfig, KVCache
from handgrad.models.next_token import NextToken
from handgrad.nn import Linear
from handgrad.system.arrays import Array
from handgrad.system.backend_setting import current_backend

KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "rotary": {"positions": "rotary", "rope_base": 30.0},
    "no positions": {"positions": "none"},
    "window": {"window": 5},
    "rotary window": {"positions": "rotary", "window": 7},
    "shared heads": {"n_kv_head": 2},
    "one key head": {"n_kv_head": 1, "head_dim": 6},
    "qk_norm": {"qk_norm": True, "norm_eps": 1e-3},
    "rms": {"norm": "rms"},
    "relu": {"activation": "relu"},
    "relu_squared": {"activation": "relu_squared"},
    "silu": {"activation": "silu", "n_hidden": 21},
    "swiglu": {"activation": "swiglu", "n_hidden": 37},
    "gelu_exact": {"activation": "gelu_exact"},
    "own head": {"tie_weights": False},
    "no biases": {"bias": False, "tie_weights": False},
    "capped": {"logit_cap": 2.0, "attention_scale": 0.9},
    "scaled": {"embedding_scale": 3.0, "embedding_norm": True},
    "token shift": {"token_shift": True},
    "token shift after a norm": {"token_shift": True, "embedding_norm": True, "positions": "none", "n_kv_head": 2},
    "token shift, rotary window": {"token_shift": True, "positions": "rotary", "window": 7},
    "modern": {
        "positions": "rotary",
        "norm": "rms",
        "qk_norm": True,
        "activation": "relu_squared",
        "tie_weights": False,
        "bias": False,
        "n_kv_head": 2,
        "window": 6,
        "logit_cap": 5.0,
    },
}
BLOCK = 19


def model_of(kind: str, dtype: Any = np.float64) -> GPT:
    """Every parameter is random, so that none is without effect."""
    sizes = {"vocab_size": 11, "block_size": BLOCK, "n_layer": 2, "n_head": 4, "n_embd": 24}
    model = GPT(GPTConfig(**{**sizes, **KINDS[kind]}), dtype=dtype)
    model.arena.data += 0.3 * np.random.default_rng(1).standard_normal(model.n_parameters).astype(dtype)
    return model.eval()


def texts(B: int, T: int) -> Array:
    return np.random.default_rng(T).integers(0, 11, (B, T))


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with no_grad():
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [[1] * BLOCK, [BLOCK], [4, 1, 1, 8, 5]], ids=str)
def test_logits_are_those_of_the_whole_text(kind: str, pieces: list[int]) -> None:
    model, ids = model_of(kind), texts(3, BLOCK)
    whole, cache, start = model(ids), KVCache(model.config, 3, np.float64), 0
    for length in pieces:
        logits = model(ids[:, start : start + length], kv_cache=cache)
        start += length
        assert logits.shape == (3, 1, 11)
        np.testing.assert_allclose(logits[:, 0], whole[:, start - 1], rtol=0, atol=1e-12)
    assert cache.positions.tolist() == [BLOCK] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_one_call_for_one_token_is_the_model(kind: str) -> None:
    model, ids = model_of(kind, np.float32), texts(3, BLOCK)
    whole, cache, one = model(ids), KVCache(model.config, 3), NextToken(model)
    assert one.is_compiled == (current_backend() == "numba" and kind != "gelu_exact")
    for t in range(BLOCK):
        logits = one(ids[:, t], cache)
        assert (logits.dtype, logits.shape) == (np.float32, (3, 11))
        assert np.abs(logits - whole[:, t]).max() <= 1e-5 * max(1, np.abs(whole[:, t]).max())


@pytest.mark.parametrize("shared", ["columns", "texts"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gelu_exact"])
def test_bits_of_a_text_do_not_depend_on_others_or_on_threads(
    kind: str, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = model_of(kind, np.float32), texts(5, BLOCK)
    if not NextToken(model).is_compiled:
        pytest.skip("without Numba the products of NumPy's library depend on the number of rows")
    monkeypatch.setattr(next_token_module, "_WORTH_A_TEAM", 0)
    monkeypatch.setattr("handgrad.kernels.next_token._MANY_COLUMNS", 0 if shared == "columns" else 512)

    def logits(texts: slice, threads: int) -> Array:
        some, one = ids[texts], NextToken(model, threads)
        cache = KVCache(model.config, len(some))
        return np.stack([one(some[:, t], cache) for t in range(BLOCK)], axis=1)

    together = logits(slice(None), 1)
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(logits(slice(None), threads), together)
        np.testing.assert_array_equal(logits(slice(2, 3), threads), together[2:3])
        np.testing.assert_array_equal(logits(slice(1, 5), threads), together[1:])


@pytest.mark.parametrize("kind", ["rotary window", "modern", "token shift, rotary window"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_with_a_window_a_text_goes_on_and_memory_stays(kind: str, dtype: Any) -> None:
    model, ids = model_of(kind, dtype), texts(2, 200)
    whole, cache, one = model(ids), KVCache(model.config, 2, dtype), NextToken(model)
    at = [*range(9, 200)]
    found = [model(ids[:, :10], kv_cache=cache)[:, 0], *(one(ids[:, t], cache) for t in at[1:])]
    tolerance = 1e-12 if dtype == np.float64 else 1e-5 * np.abs(whole).max()
    np.testing.assert_allclose(np.stack(found, axis=1), whole[:, at], rtol=0, atol=tolerance)
    assert cache.slots == 64
    assert cache.positions.tolist() == [200, 200]


def test_without_a_window_block_size_is_the_end() -> None:
    for kind in ("gpt2", "rotary", "window"):
        model = model_of(kind)
        cache = KVCache(model.config, 1, np.float64)
        model(texts(1, BLOCK - 1), kv_cache=cache)
        model([[3]], kv_cache=cache)
        with pytest.raises(ValueError, match=f"GPT: {BLOCK + 1} tokens are more than block_size {BLOCK}"):
            model([[3]], kv_cache=cache)
        with pytest.raises(ValueError, match=f"{BLOCK + 1} tokens are more than block_size {BLOCK}"):
            model(texts(1, BLOCK + 1))


@pytest.mark.parametrize("kind", ["rotary", "token shift"])
def test_texts_of_different_lengths_are_continued_together(kind: str) -> None:
    model, ids, lengths = model_of(kind), texts(3, 12), [7, 2, 4]
    whole, cache = model(ids), KVCache(model.config, 3, np.float64)
    for b, length in enumerate(lengths):
        cache.make_room(length)
        model(ids[b : b + 1, :length], kv_cache=cache.part(slice(b, b + 1)))
    for step in range(5):
        logits = model(np.stack([ids[b, [n + step]] for b, n in enumerate(lengths)]), kv_cache=cache)
        for b, length in enumerate(lengths):
            np.testing.assert_allclose(logits[b, 0], whole[b, length + step], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["gpt2", "token shift"])
def test_texts_are_copied_cleared_and_dropped(kind: str) -> None:
    model, ids = model_of(kind), texts(4, 12)
    whole, cache = model(ids), KVCache(model.config, 4, np.float64)
    model(ids[:, :6], kv_cache=cache)
    cache.drop(1)  # text 3 takes its place
    assert (cache.batch_size, cache.positions.tolist()) == (3, [6, 6, 6])
    logits = model(ids[[0, 3, 2], 6:7], kv_cache=cache)
    np.testing.assert_allclose(logits[:, 0], whole[[0, 3, 2], 6], rtol=0, atol=1e-12)
    cache.copy(2, 0)
    cache.clear(1)
    assert cache.positions.tolist() == [7, 0, 7]
    logits = model(ids[[0, 2, 0], [7, 0, 7]][:, None], kv_cache=cache)
    np.testing.assert_allclose(logits[:, 0], whole[[0, 2, 0], [7, 0, 7]], rtol=0, atol=1e-12)


def test_memory_grows_and_keeps_what_it_holds() -> None:
    config = GPTConfig(vocab_size=7, block_size=300, n_layer=1, n_head=2, n_embd=8)
    model, ids = GPT(config, dtype=np.float64), np.random.default_rng(0).integers(0, 7, (1, 300))
    whole, cache, slots = model(ids), KVCache(config, 1, np.float64), set()
    for t in range(300):
        logits = model(ids[:, t : t + 1], kv_cache=cache)
        slots.add(cache.slots)
        np.testing.assert_allclose(logits[0, 0], whole[0, t], rtol=0, atol=1e-12)
    assert slots == {64, 128, 256, 300}


@pytest.mark.parametrize("kind", ["modern", "token shift"])
def test_a_tensor_gives_a_tensor(kind: str) -> None:
    model, ids = model_of(kind), texts(2, 5)
    cache = KVCache(model.config, 2, np.float64)
    model(Tensor(ids[:, :3]), kv_cache=cache)
    logits = model(Tensor(ids[:, 3:]), kv_cache=cache)
    assert isinstance(logits, Tensor)
    np.testing.assert_allclose(logits.data[:, 0], model(ids)[:, -1], rtol=0, atol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    model = model_of("gpt2")
    cache = KVCache(model.config, 2, np.float64)
    with pytest.raises(ValueError, match="ids of 3 texts must be further tokens of the cache's 2 texts"):
        model([[1], [2], [3]], kv_cache=cache)
    with pytest.raises(ValueError, match=r"ids \(2, 0\)"):
        model(np.zeros((2, 0), int), kv_cache=cache)
    for ids in ([[99], [0]], [[-1], [0]]):
        with pytest.raises(IndexError):
            NextToken(model_of("gpt2", np.float32))(np.array(ids)[:, 0], KVCache(model.config, 2))
    assert cache.positions.tolist() == [0, 0]


@pytest.mark.parametrize(
    "other", [{"n_layer": 1}, {"n_kv_head": 1}, {"head_dim": 2}, {"block_size": 2 * BLOCK}], ids=str
)
def test_the_cache_of_another_model_is_refused(other: dict[str, Any]) -> None:
    model = model_of("gpt2", np.float32)
    cache = KVCache(replace(model.config, **other), 1)
    for read in (lambda: model([[1]], kv_cache=cache), lambda: NextToken(model)(np.array([1]), cache)):
        with pytest.raises(ValueError, match="the cache was made for a model with other settings"):
            read()
    assert cache.slots == 0
    with pytest.raises(ValueError, match="the cache is of float64, and the model of float32"):
        model([[1]], kv_cache=KVCache(model.config, 1, np.float64))
    model([[1]], kv_cache=KVCache(replace(model.config), 1))  # equal settings are the same


def test_one_call_refuses_ids_that_do_not_fit() -> None:
    model = model_of("gpt2", np.float32)
    one, cache = NextToken(model), KVCache(model.config, 2)
    for ids, problem in (([1], "ids of 1 texts"), ([1, 2, 3], "ids of 3 texts"), ([[1, 2]], r"not \(1, 2\)")):
        with pytest.raises(ValueError, match=problem):
            one(np.array(ids), cache)
    assert cache.positions.tolist() == [0, 0]


def test_a_window_longer_than_a_block_does_not_read_any_length() -> None:
    for window, is_any in ((1, True), (BLOCK, True), (BLOCK + 1, False), (0, False)):
        config = replace(model_of("rotary").config, window=window)
        assert config.reads_any_length is is_any
    assert not replace(model_of("window").config).reads_any_length


def test_gradients_are_refused() -> None:
    from handgrad.autograd import enable_grad

    model = model_of("gpt2")
    with enable_grad(), pytest.raises(RuntimeError, match="kv_cache needs no_grad"):
        model([[1]], kv_cache=KVCache(model.config, 1, np.float64))


def test_a_model_with_another_part_is_not_compiled() -> None:
    model = model_of("gpt2", np.float32)
    forward = model.blocks[1].feed_forward.forward
    model.blocks[1].feed_forward.forward = lambda x: 2 * forward(x)  # type: ignore[method-assign]
    assert_not_compiled_and_right(model)


def test_a_part_with_memory_of_its_own_is_not_compiled() -> None:
    model = model_of("gpt2", np.float32)
    model.blocks[1].feed_forward.expand = Linear(24, 96, rng=np.random.default_rng(3))
    assert_not_compiled_and_right(model)


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [("attend", "window", 2), ("attend", "scale", 0.9), ("attend", "rope_base", 9.0), ("norm_1", "eps", 0.5)],
)
def test_a_part_with_another_setting_is_not_compiled(part: str, setting: str, value: float) -> None:
    model = model_of("gpt2", np.float32)
    block = model.blocks[1]
    setattr(block.attention.attend if part == "attend" else block.norm_1, setting, value)
    assert_not_compiled_and_right(model)


def assert_not_compiled_and_right(model: GPT) -> None:
    one, cache, ids = NextToken(model), KVCache(model.config, 2), texts(2, 4)
    assert not one.is_compiled
    for t in range(4):
        logits = one(ids[:, t], cache)
    np.testing.assert_allclose(logits, model(ids)[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["shared heads", "token shift"])
def test_the_memory_of_a_text_is_that_of_what_is_kept(kind: str) -> None:
    model = model_of(kind, np.float32)
    cache = KVCache(model.config, 1)
    model(texts(1, BLOCK), kv_cache=cache)
    every = cache.all_layers
    before = 0 if cache.before is None else cache.before.nbytes
    assert (before > 0) is model.config.token_shift
    assert KVCache.bytes_of_text(model.config) == every.keys.nbytes + every.values.nbytes + before


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_call_that_fails_leaves_the_vector_before_as_it_was(dtype: Any) -> None:
    """So that the same tokens can be read again."""
    model, ids = model_of("token shift", dtype), texts(2, 6)
    whole, cache = model(ids), KVCache(model.config, 2, dtype)
    model(ids[:, :3], kv_cache=cache)
    forward = model.blocks[1].forward
    model.blocks[1].forward = lambda *_, **__: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        model(ids[:, 3:], kv_cache=cache)
    model.blocks[1].forward = forward  # type: ignore[method-assign]
    logits = model(ids[:, 3:], kv_cache=cache)
    np.testing.assert_allclose(logits[:, 0], whole[:, -1], rtol=0, atol=1e-12 if dtype == np.float64 else 1e-4)


def test_a_text_dropped_from_a_part_stays_in_the_whole() -> None:
    cache = KVCache(model_of("gpt2").config, 3, np.float64)
    cache.part(slice(0, 2)).drop(0)
    assert cache.texts.tolist() == [0, 1, 2]
