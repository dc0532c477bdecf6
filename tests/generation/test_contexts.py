"""What a model has read of several texts: the same logits, and the same texts, with the cache and without it."""

from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.generation import generate
from handgrad.generation.contexts import Contexts, context_start
from handgrad.models import GPT, GPTConfig, LanguageModel
from handgrad.system.arrays import Array

BLOCK = 16
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "rotary": {"positions": "rotary"},
    "window": {"window": 5},
    "rotary window": {"positions": "rotary", "window": 5},
    "modern": {
        "positions": "rotary",
        "norm": "rms",
        "qk_norm": True,
        "activation": "swiglu",
        "tie_weights": False,
        "bias": False,
        "n_kv_head": 2,
        "window": 9,
        "logit_cap": 8.0,
    },
    "token shift": {"token_shift": True},
    "token shift, rotary window": {"token_shift": True, "positions": "rotary", "window": 5, "embedding_norm": True},
    "gelu_exact": {"activation": "gelu_exact", "positions": "none", "norm": "rms", "n_kv_head": 1},
}
PROMPTS = ([3], [5, 1, 4, 1, 5, 9, 2, 6, 5, 3], [3], [0, 1], list(range(11)) * 3)


def model_of(kind: str, dtype: Any) -> GPT:
    sizes = {"vocab_size": 11, "block_size": BLOCK, "n_layer": 2, "n_head": 4, "n_embd": 24}
    model = GPT(GPTConfig(**{**sizes, **KINDS[kind]}), dtype=dtype)
    rng = np.random.default_rng(1)
    for parameter in model.parameters():  # large matrices, so that what comes next depends on what was read
        parameter.data += (0.7 if parameter.ndim == 2 else 0.1) * rng.standard_normal(parameter.shape)
    return model.eval()


def continued(contexts: Contexts, tokens: int, temperature: float = 0.0, drop_at: int = -1) -> tuple[list[Any], Array]:
    """The texts, and the logits of each step and text. Text 1 is dropped before step ``drop_at``.

    With a temperature, token k of every text is drawn with the same number for this k.
    """
    rng, logits = np.random.default_rng(4), []
    for step in range(tokens):
        if step == drop_at:
            contexts.drop(1)
        found = contexts.next_logits()
        logits.append(found[: len(contexts.ids) - (drop_at > step)].copy())
        if temperature:
            found = found / temperature + rng.gumbel(size=found.shape[1])
        contexts.add(found.argmax(axis=1).tolist())
    return contexts.ids, logits  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("tokens", "start"),
    [(1, 0), (15, 0), (16, 0), (17, 4), (20, 4), (21, 8), (24, 8), (25, 12), (33, 20), (36, 20), (37, 24)],
)
def test_a_full_block_begins_anew_with_three_quarters(tokens: int, start: int) -> None:
    config = model_of("gpt2", np.float32).config
    assert context_start(config, tokens) == start
    assert context_start(model_of("rotary window", np.float32).config, tokens) == 0


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 64])
def test_a_context_is_never_empty_and_never_longer_than_a_block(block_size: int) -> None:
    config = GPTConfig(vocab_size=2, block_size=block_size, n_layer=1, n_head=1, n_embd=2)
    starts = [context_start(config, n) for n in range(1, 300)]
    lengths = [n - start for n, start in enumerate(starts, 1)]
    assert max(lengths) == block_size
    assert min(lengths[block_size:], default=1) >= max(1, block_size * 3 // 4)
    assert starts == sorted(starts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_cache_changes_no_text(kind: str, dtype: Any) -> None:
    model = model_of(kind, dtype)
    for temperature in (0.0, 1.0):
        texts, logits = continued(Contexts(model, PROMPTS), 60, temperature)
        others, expected = continued(Contexts(model, PROMPTS, cached=False), 60, temperature)
        assert texts == others
        for found, wanted in zip(logits, expected, strict=True):
            tolerance = 1e-11 if dtype == np.float64 else 1e-5 * max(1, np.abs(wanted).max())
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
        assert len({token for text in texts for token in text[-50:]}) >= 4  # others would be alike with any context


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_text_is_the_same_alone_and_among_others(kind: str, dtype: Any) -> None:
    model = model_of(kind, dtype)
    together, _ = continued(Contexts(model, PROMPTS), 50, 1.0)
    for prompt, text in zip(PROMPTS, together, strict=True):
        assert continued(Contexts(model, [prompt]), 50, 1.0)[0] == [text]


def test_a_dropped_text_gives_its_place_to_the_last() -> None:
    model = model_of("modern", np.float32)
    expected, _ = continued(Contexts(model, PROMPTS), 30)
    found, _ = continued(Contexts(model, PROMPTS), 30, drop_at=11)
    assert found == [expected[0], expected[4], expected[2], expected[3]]
    contexts = Contexts(model, PROMPTS)
    for _ in PROMPTS[1:]:
        contexts.drop(0)
    assert contexts.ids == [PROMPTS[1]]
    np.testing.assert_array_equal(contexts.next_logits(), Contexts(model, PROMPTS[1:2]).next_logits())


def test_texts_that_begin_alike_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = model_of("gpt2", np.float64), []
    forward = model.forward

    def counting(ids: Any, kv_cache: Any = None) -> Any:
        read.append(ids.shape)
        return forward(ids, kv_cache)

    monkeypatch.setattr(model, "forward", counting)
    contexts = Contexts(model, [[1, 2, 3, 4]] * 5 + [[4, 3, 2]])
    contexts.next_logits()
    assert read == [(1, 4), (1, 3)]
    contexts.add([7] * 6)
    contexts.next_logits()
    assert read[2:] == [(6, 1)]


def test_a_long_prompt_is_read_in_pieces_of_a_block() -> None:
    model = model_of("rotary window", np.float64)
    prompt = np.random.default_rng(2).integers(0, 11, 5 * BLOCK + 3).tolist()
    contexts = Contexts(model, [prompt, prompt[:3]])
    contexts.next_logits()
    assert contexts.cache.slots == 64
    np.testing.assert_allclose(
        Contexts(model, [prompt]).next_logits(),
        Contexts(model, [prompt], cached=False).next_logits(),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("kind", ["gpt2", "rotary window"])
def test_an_error_between_two_texts_leaves_no_wrong_logits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(kind, np.float64)
    prompts, forward, fails = [[1, 2, 3], [4], [5, 6, 7], [8, 9, 1, 2]], model.forward, [True]

    def interrupted(ids: Any, kv_cache: Any = None) -> Any:
        if fails and ids.tolist() == [[5, 6, 7]]:
            fails.clear()
            raise KeyboardInterrupt
        return forward(ids, kv_cache)

    monkeypatch.setattr(model, "forward", interrupted)
    contexts = Contexts(model.train(), prompts)
    with pytest.raises(KeyboardInterrupt):
        contexts.next_logits()
    assert model.training
    expected = Contexts(model, prompts, cached=False).next_logits()
    for _ in range(3):  # also if nothing is added
        np.testing.assert_allclose(contexts.next_logits(), expected, rtol=0, atol=1e-12)


def test_each_call_reads_what_was_added() -> None:
    model = model_of("gpt2", np.float64)
    contexts = Contexts(model, [[1, 2, 3]])
    first = contexts.next_logits()
    contexts.add([4])
    second = contexts.next_logits()
    np.testing.assert_allclose(first, Contexts(model, [[1, 2, 3]], cached=False).next_logits(), atol=1e-12)
    np.testing.assert_allclose(second, Contexts(model, [[1, 2, 3, 4]], cached=False).next_logits(), atol=1e-12)


def test_a_model_that_takes_no_cache_writes_too() -> None:
    class Bigram(LanguageModel):
        def __init__(self, config: GPTConfig) -> None:
            self.table = nn.Embedding(config.vocab_size, config.vocab_size)
            self.table.weight.data = np.roll(np.eye(config.vocab_size), 1, axis=1)  # the likeliest is the next id
            super().__init__(config)

        def forward(self, ids: Any) -> Any:
            return self.table(ids)

    model = Bigram(GPTConfig(vocab_size=5, block_size=3, n_layer=1, n_head=1, n_embd=2))
    assert not model.takes_kv_cache
    assert list(generate(model, [3], 9, temperature=0)) == [4, 0, 1, 2, 3, 4, 0, 1, 2]


def test_a_model_on_the_tape_writes_the_same() -> None:
    class Halved(nn.Module):
        """Has no backward, so that the whole model runs on the tape."""

        def forward(self, x: Any) -> Any:
            return 0.5 * x

    class Odd(GPT):
        def __init__(self, config: GPTConfig, **made: Any) -> None:
            super().__init__(config, **made)
            self.halved = Halved()

        def forward(self, ids: Any, kv_cache: Any = None) -> Any:
            return self.halved(super().forward(ids, kv_cache))

    plain = model_of("modern", np.float64)
    odd = Odd(plain.config, dtype=np.float64).eval()
    odd.load_state_dict(plain.state_dict())
    for cached in (True, False):
        assert list(generate(odd, [3, 1], 30, temperature=0, cached=cached)) == list(
            generate(plain, [3, 1], 30, temperature=0)
        )
