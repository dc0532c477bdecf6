"""Sampling: each strategy on logits made by hand, then a model that writes token by token."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.autograd import is_grad_enabled, no_grad
from handgrad.generation import Strategy, generate
from handgrad.models import GPT, GPTConfig
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

CONFIG = GPTConfig(vocab_size=11, block_size=6, n_layer=2, n_head=2, n_embd=12)
PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.15, 0.3])
LOGITS = np.log(PROBABILITIES) + 7  # a common shift has no effect


@pytest.fixture(scope="module")
def model() -> GPT:
    """A GPT with clear preferences: with initial weights its logits would be nearly equal."""
    made = GPT(replace(CONFIG, tie_weights=False), dtype=np.float64)
    rng = np.random.default_rng(6)
    for parameter in made.parameters():
        if parameter.ndim == 2:  # biases stay 0: they would favour one token in every context
            parameter.data = rng.standard_normal(parameter.shape) * 0.8
    return made


def next_logits(model: GPT, ids: list[int]) -> Array:
    with no_grad():
        return model(np.array([ids]))[0, -1]


# Strategies


def test_probabilities_are_the_softmax_at_a_temperature() -> None:
    np.testing.assert_allclose(Strategy().probabilities(LOGITS), PROBABILITIES, rtol=1e-12)
    for temperature in (0.5, 2.0):
        expected = PROBABILITIES ** (1 / temperature)
        expected /= expected.sum()
        np.testing.assert_allclose(Strategy(temperature).probabilities(LOGITS), expected, rtol=1e-12)


def test_top_k_keeps_the_k_likeliest() -> None:
    kept = Strategy(top_k=2).probabilities(LOGITS)
    np.testing.assert_allclose(kept, [0, 4 / 7, 0, 0, 3 / 7], rtol=1e-12)
    for k in (5, 6, 1000):
        np.testing.assert_allclose(Strategy(top_k=k).probabilities(LOGITS), PROBABILITIES, rtol=1e-12)


def test_of_equally_likely_tokens_top_k_keeps_the_first() -> None:
    np.testing.assert_allclose(Strategy(top_k=2).probabilities(np.zeros(4)), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(Strategy(top_p=0.5).probabilities(np.zeros(4)), [0.5, 0.5, 0, 0])
    # Long enough that NumPy does not use insertion sort, which would keep the order with any kind of sort.
    many = np.where(np.arange(1000) % 2, 0.0, 1.0)
    assert np.flatnonzero(Strategy(top_k=20).probabilities(many)).tolist() == list(range(0, 40, 2))


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1e-9, [1]),
        (0.39, [1]),
        (0.41, [1, 4]),
        (0.69, [1, 4]),
        (0.71, [1, 3, 4]),
        (0.86, [1, 2, 3, 4]),
        (0.96, [0, 1, 2, 3, 4]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p: float, kept: list[int]) -> None:
    expected = np.zeros(5)
    expected[kept] = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    np.testing.assert_allclose(Strategy(top_p=top_p).probabilities(LOGITS), expected, rtol=1e-12)


def test_a_set_that_reaches_p_exactly_is_enough() -> None:
    logits = np.log(np.array([0.25, 0.5, 0.125, 0.125]))
    np.testing.assert_array_equal(Strategy(top_p=0.5).probabilities(logits) > 0, [False, True, False, False])
    np.testing.assert_array_equal(Strategy(top_p=0.75).probabilities(logits) > 0, [True, True, False, False])


def test_temperature_comes_before_top_k_and_that_before_top_p() -> None:
    # At temperature 1/2 the likeliest token has probability 16/31 and reaches 1/2 alone; at temperature 1 it has 0.4.
    np.testing.assert_array_equal(Strategy(0.5, top_p=0.5).probabilities(LOGITS), [0, 1, 0, 0, 0])
    # Of the two tokens that top-k keeps, the first has probability 4/7.
    np.testing.assert_array_equal(Strategy(top_k=2, top_p=0.55).probabilities(LOGITS), [0, 1, 0, 0, 0])


def test_minus_infinity_never_comes() -> None:
    logits = LOGITS.copy()
    logits[[1, 4]] = -np.inf
    for strategy in (Strategy(), Strategy(5.0), Strategy(top_k=4), Strategy(top_p=1.0), Strategy(1e-300)):
        probabilities = strategy.probabilities(logits)
        assert (probabilities[[1, 4]] == 0).all()
        assert probabilities.sum() == pytest.approx(1)
    assert Strategy(0).choose(logits, np.random.default_rng(0)) == 3


@pytest.mark.parametrize("temperature", [1e-5, 1e-30, 1e-300])
def test_a_tiny_temperature_is_greedy_and_does_not_overflow(temperature: float) -> None:
    for dtype in (np.float32, np.float64):
        logits = np.array([1e4, 3e4, -3e4, 2.9e4], dtype)
        np.testing.assert_array_equal(Strategy(temperature).probabilities(logits), [0, 1, 0, 0])


def test_logits_are_left_as_they_are() -> None:
    logits = LOGITS.copy()
    Strategy(0.5, 2, 0.9).choose(logits, np.random.default_rng(0))
    np.testing.assert_array_equal(logits, LOGITS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_come_as_often_as_their_probabilities_say(temperature: float) -> None:
    strategy, rng, n = Strategy(temperature), np.random.default_rng(1), 4000
    seen = np.bincount([strategy.choose(LOGITS, rng) for _ in range(n)], minlength=5)
    expected = n * PROBABILITIES ** (1 / temperature) / (PROBABILITIES ** (1 / temperature)).sum()
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 4 degrees of freedom: a value of 18.5 or more has probability 1/1000


def test_a_draw_falls_into_the_share_of_each_token() -> None:
    class Fixed(np.random.Generator):
        def __init__(self, value: float) -> None:
            super().__init__(np.random.PCG64())
            self.value = value

        def random(self) -> float:  # type: ignore[override]
            return self.value

    never = -np.inf
    logits = np.array([never, math.log(0.25), never, math.log(0.5), math.log(0.25), never])
    for value, token in ((0.0, 1), (0.24, 1), (0.26, 3), (0.74, 3), (0.76, 4), (0.999999, 4)):
        assert Strategy().choose(logits, Fixed(value)) == token


def test_greedy_takes_the_first_of_equals_and_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert Strategy(0).choose(np.array([1.0, 5.0, 5.0, 2.0]), rng) == 1
    assert Strategy(0.0, top_k=3, top_p=0.9).choose(LOGITS, rng) == 1
    assert rng.bit_generator.state == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -0.1}, "temperature must be a finite number of at least 0, not -0.1"),
        ({"temperature": math.inf}, "temperature must be a finite number of at least 0, not inf"),
        ({"temperature": math.nan}, "temperature must be a finite number of at least 0, not nan"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_k": -1}, "top_k must be at least 1, not -1"),
        ({"top_k": 2.5}, "top_k must be an integer, not 2.5"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], not 0.0"),
        ({"top_p": 1.01}, r"top_p must lie in \(0, 1\], not 1.01"),
        ({"top_p": math.nan}, r"top_p must lie in \(0, 1\], not nan"),
        ({"min_p": -0.1}, r"min_p must lie in \[0, 1\], not -0.1"),
        ({"min_p": 1.01}, r"min_p must lie in \[0, 1\], not 1.01"),
        ({"min_p": math.nan}, r"min_p must lie in \[0, 1\], not nan"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be a finite number above 0, not 0.0"),
        ({"repetition_penalty": -1.5}, "repetition_penalty must be a finite number above 0, not -1.5"),
        ({"repetition_penalty": math.inf}, "repetition_penalty must be a finite number above 0, not inf"),
        ({"repetition_penalty": math.nan}, "repetition_penalty must be a finite number above 0, not nan"),
    ],
)
def test_values_that_cannot_be_are_refused_at_once(model: GPT, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}$"):
        Strategy(**options)
    with pytest.raises(InputError, match=f"^{says}$"):
        generate(model, [1], 5, **options)  # at the call, not only at the first token


def test_no_ids_to_continue_from_are_refused_at_once(model: GPT) -> None:
    with pytest.raises(ValueError, match="generate: at least one id is needed to continue from"):
        generate(model, [], 5)


# A model that writes


def greedily(model: GPT, ids: list[int], n: int) -> list[int]:
    """The reference: repeatedly takes the likeliest token after the last block_size tokens."""
    context = list(ids)
    for _ in range(n):
        context.append(int(next_logits(model, context[-6:]).argmax()))
    return context[len(ids) :]


def test_temperature_zero_and_top_k_one_take_the_likeliest_token(model: GPT) -> None:
    expected = greedily(model, [3, 1], 4)
    assert list(generate(model, [3, 1], 4, temperature=0)) == expected
    assert list(generate(model, [3, 1], 4, top_k=1, seed=5)) == expected
    assert list(generate(model, [3, 1], 4, top_p=1e-9, seed=6)) == expected
    assert list(generate(model, [3, 1], 4, temperature=1e-300, seed=7)) == expected


def test_contexts_longer_than_the_block_slide(model: GPT) -> None:
    prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    expected = greedily(model, prompt, 20)
    assert list(generate(model, prompt, 20, temperature=0)) == expected
    assert len(set(expected)) > 2  # a model that repeats one token would pass with any window
    assert list(generate(model, prompt[-6:], 20, temperature=0)) == expected
    assert greedily(model, [*prompt[:-6], *prompt[-5:], prompt[-6]], 20) != expected


def test_one_seed_gives_one_text_and_others_differ(model: GPT) -> None:
    texts = [list(generate(model, [3], 30, seed=seed)) for seed in (0, 1, [0, 1], [0, 2])]
    assert texts == [list(generate(model, [3], 30, seed=seed)) for seed in (0, 1, [0, 1], [0, 2])]
    assert len({tuple(text) for text in texts}) == 4
    assert list(generate(model, [3], 30)) == texts[0]


@pytest.mark.slow
def test_sampled_tokens_follow_the_model(model: GPT) -> None:
    logits = next_logits(model, [3, 7])
    expected = 1500 * Strategy(2.0).probabilities(logits)
    first = [next(generate(model, [3, 7], 1, temperature=2.0, seed=seed)) for seed in range(1500)]
    seen = np.bincount(first, minlength=11)
    assert ((seen - expected) ** 2 / expected).sum() < 29.6  # 10 degrees of freedom: probability 1/1000


def test_excluded_ids_never_come(model: GPT) -> None:
    free = set(generate(model, [3], 200, temperature=5.0))
    assert {0, 1, 2, 3} <= free
    text = list(generate(model, [3], 200, temperature=5.0, exclude=range(4)))
    assert set(text) == set(range(4, 11))
    likeliest = greedily(model, [3], 1)
    assert list(generate(model, [3], 1, temperature=0, exclude=likeliest)) != likeliest
    only = list(generate(model, [3], 10, exclude=[i for i in range(11) if i != 8], top_k=5, top_p=0.9))
    assert only == [8] * 10


def test_the_prompt_may_be_an_array_and_stays_as_it_is(model: GPT) -> None:
    prompt, as_list = np.array([3, 1, 4], np.uint16), [3, 1, 4]
    assert list(generate(model, prompt, 5)) == list(generate(model, as_list, 5))
    assert as_list == [3, 1, 4]
    assert prompt.tolist() == [3, 1, 4]


def test_no_tokens_are_none(model: GPT) -> None:
    assert list(generate(model, [3], 0)) == []


def test_tokens_come_as_soon_as_they_are_chosen(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda ids, kv_cache: (calls.append(ids.shape[1]), forward(ids, kv_cache))[1])
    writing = generate(model, [3, 1], 300)
    assert calls == []
    first = next(writing)
    assert calls == [2]  # the model has been called once, with the prompt
    assert list(islice(writing, 6)) == list(generate(model, [3, 1], 7))[1:]
    assert calls[:7] == [2, 1, 1, 1, 1, 6, 6]  # then the block of 6 tokens is full
    assert isinstance(first, int)


def test_between_tokens_the_model_is_as_it_was() -> None:
    model = GPT(CONFIG)
    for training in (True, False):
        model.train(training)
        writing = generate(model, [3], 3)
        for _ in range(3):
            next(writing)
            assert all(module.training is training for module in model.modules())
            assert is_grad_enabled()
        assert not any(layer.awaits_backward for layer in model.modules() if isinstance(layer, nn.Layer))
    model.train()
    with pytest.raises(IndexError, match="id 99 is outside the table"):
        next(generate(model, [99], 3))
    assert model.training  # after an error too


def test_writing_is_without_dropout() -> None:
    plain = GPT(CONFIG, seed=2)
    dropping = GPT(GPTConfig(11, 6, 2, 2, 12, dropout=0.5), seed=2)
    for model in (plain, dropping):
        model.arena.data *= 20  # with initial weights logits are so nearly equal that dropout would hardly show
    assert dropping.training
    assert list(generate(dropping, [3], 30, seed=4)) == list(generate(plain, [3], 30, seed=4))


def test_a_text_can_be_written_between_a_forward_and_its_backward() -> None:
    # As the training loop does when it shows samples.
    model, x = GPT(CONFIG, dtype=np.float64), np.array([[1, 2, 3]])
    model.loss(x, x)
    list(generate(model, [3], 5))
    model.backward()
    with_text = model.arena.grad.copy()
    model.zero_grad()
    model.loss(x, x)
    model.backward()
    np.testing.assert_array_equal(model.arena.grad, with_text)
