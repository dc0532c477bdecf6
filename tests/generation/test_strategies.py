"""The distribution that each option of a strategy gives, computed by hand, and compared with what is drawn."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handgrad.generation import Strategy
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

FIVE = np.log([0.05, 0.4, 0.1, 0.15, 0.3])
SIGNED = np.log([4, 0.5, 9, 1, 3])  # a positive logit, a negative one, 0: the penalty treats them differently
SEEN = [3, 0, 1, 0]
# 999 of 1000 chi-square values lie below, by the degrees of freedom.
LIMIT = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}

CASES: dict[str, tuple[Array, dict[str, Any], list[Fraction]]] = {
    "nothing": (FIVE, {}, [Fraction(n, 20) for n in (1, 8, 2, 3, 6)]),
    "temperature 1/2 squares": (FIVE, {"temperature": 0.5}, [Fraction(n, 114) for n in (1, 64, 4, 9, 36)]),
    "top-k": (FIVE, {"top_k": 3}, [Fraction(n, 17) for n in (0, 8, 0, 3, 6)]),
    "top-p": (FIVE, {"top_p": 0.69}, [Fraction(n, 7) for n in (0, 4, 0, 0, 3)]),
    "min-p": (FIVE, {"min_p": 0.2}, [Fraction(n, 19) for n in (0, 8, 2, 3, 6)]),
    "repetition penalty": (SIGNED, {"repetition_penalty": 2.0}, [Fraction(n, 61) for n in (8, 1, 36, 4, 12)]),
    "reward of repetition": (
        np.log([4, 0.25, 9, 1, 3]),
        {"repetition_penalty": 0.5},
        [Fraction(n, 59) for n in (32, 1, 18, 2, 6)],
    ),
    # After the penalty the weights are 2, 1/4, 9, 1, 3, and after the temperature 4, 1/16, 81, 1, 9. Top-k drops 1/16.
    # Of the rest, 81, 9 and 4 have 94/95, and 81 and 9 have 90/95; so top-p drops 1. Min-p drops 4 of 81.
    "everything": (
        SIGNED,
        {"repetition_penalty": 2.0, "temperature": 0.5, "top_k": 4, "top_p": 0.98, "min_p": 0.06},
        [Fraction(n, 10) for n in (0, 0, 9, 0, 1)],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_those_computed_by_hand(case: str, dtype: type) -> None:
    logits, options, expected = CASES[case]
    assert sum(expected) == pytest.approx(1)
    seen = np.isin(np.arange(5), SEEN)
    probabilities = Strategy(**options).probabilities(logits.astype(dtype), seen)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, [float(p) for p in expected], rtol=1e-12 if dtype is np.float64 else 2e-6)


@pytest.mark.parametrize("case", CASES)
def test_tokens_come_as_often_as_computed_by_hand(case: str) -> None:
    logits, options, expected = CASES[case]
    n, rng = 20_000, np.random.default_rng(2)
    seen = np.tile(np.isin(np.arange(5), SEEN), (n, 1))
    drawn = Strategy(**options).choose_each(np.tile(logits, (n, 1)), [rng] * n, seen)
    counts = np.bincount(drawn, minlength=5)
    possible = np.array(expected) > 0
    assert (counts[~possible] == 0).all()
    mean = n * np.array([float(p) for p in expected])[possible]
    assert ((counts[possible] - mean) ** 2 / mean).sum() < LIMIT[possible.sum() - 1]


def test_greedy_writing_heeds_the_penalty_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert Strategy(0, repetition_penalty=2.0).choose(SIGNED, rng, [2]) == 0  # log 9 / 2 < log 4
    assert Strategy(0, repetition_penalty=1.1).choose(SIGNED, rng, [2]) == 2
    assert Strategy(0, 1, 0.1, 1.0).choose(SIGNED, rng, [2]) == 2
    assert rng.bit_generator.state == before


def test_the_likeliest_token_stays_under_the_strictest_filters() -> None:
    for options in ({"top_k": 1}, {"top_p": 1e-300}, {"min_p": 1.0}):
        np.testing.assert_array_equal(Strategy(**options).probabilities(FIVE), [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(Strategy(min_p=1.0).probabilities(np.zeros(4)), [0.25] * 4)  # all are the likeliest


def test_a_token_exactly_at_min_p_stays() -> None:
    logits = np.log([0.5, 0.25, 0.125, 0.125])
    np.testing.assert_allclose(Strategy(min_p=0.5).probabilities(logits), [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(Strategy(min_p=0.500001).probabilities(logits), [1, 0, 0, 0])
    for off in (None, 0.0):
        np.testing.assert_array_equal(Strategy(min_p=off).probabilities(logits), Strategy().probabilities(logits))


@pytest.mark.parametrize("penalty", [5e-324, 1e-300, 1.7e308])
def test_an_absurd_penalty_gives_probabilities_all_the_same(penalty: float) -> None:
    logits = np.array([3.0, -2.0, -np.inf, 0.5, 1.0])
    strategy = Strategy(repetition_penalty=penalty)
    probabilities = strategy.probabilities(logits, np.array([True, True, True, False, False]))
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[2] == 0
    assert (probabilities[0] == 1) == (penalty < 1)
    every = strategy.probabilities(np.array([-np.inf, -3.0, -2.0]), np.array([True, True, True]))
    assert every[0] == 0
    assert every.sum() == pytest.approx(1)
    assert strategy.choose(np.array([1.0, 2.0]), np.random.default_rng(0), [0, 1]) in (0, 1)


def test_logits_and_what_was_seen_stay_as_they_are() -> None:
    logits, seen = np.tile(SIGNED, (3, 1)), np.zeros((3, 5), bool)
    seen[:, 1:4] = True
    before = logits.copy(), seen.copy()
    everything = Strategy(**CASES["everything"][1])
    for strategy in (everything, Strategy(), Strategy(top_k=2), Strategy(0, repetition_penalty=3.0)):
        strategy.choose_each(logits, [np.random.default_rng(0)] * 3, seen)
        np.testing.assert_array_equal(logits, before[0])
        np.testing.assert_array_equal(seen, before[1])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_text_with_impossible_logits_is_named_before_a_number_is_drawn(wrong: float, temperature: float) -> None:
    logits, rng = np.tile(FIVE, (3, 1)), np.random.default_rng(0)
    logits[1, 2] = wrong
    before = rng.bit_generator.state
    with pytest.raises(InputError, match=r"the model's logits are (NaN|infinite): its training diverged"):
        Strategy(temperature, repetition_penalty=2.0).choose_each(logits, [rng] * 3, np.ones((3, 5), bool))
    assert rng.bit_generator.state == before


# Rows at once, and without a full sort, against one row with a full sort.


def by_a_full_sort(strategy: Strategy, logits: Array) -> Array:
    """Probabilities, as the docstring of Strategy says it, without a penalty."""
    order = np.argsort(-logits, kind="stable")
    sorted_logits = logits[order].astype(np.float64)
    weights = np.exp((sorted_logits - sorted_logits[0]) / strategy.temperature)
    if strategy.top_k is not None:
        weights[strategy.top_k :] = 0
    if strategy.top_p is not None:
        before = np.cumsum(weights / weights.sum()) - weights / weights.sum()
        weights[before >= strategy.top_p] = 0
    if strategy.min_p is not None:
        weights[weights < strategy.min_p] = 0
    probabilities = np.zeros(len(logits))
    probabilities[order] = weights / weights.sum()
    return probabilities


@st.composite
def some_logits(draw: st.DrawFn) -> Array:
    """Logits (B, V) with ties, with -inf, flat and peaked; longer than a block of NumPy's pairwise sums."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    shape = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3, 7, 69, 130, 300, 1000]))
    logits = rng.standard_normal(shape) * draw(st.sampled_from([0.0, 0.1, 1.0, 4.0]))
    if draw(st.booleans()):
        logits = np.round(logits)
    logits[:, 1:][rng.random((shape[0], shape[1] - 1)) < draw(st.sampled_from([0.0, 0.2, 0.95]))] = -np.inf
    return rng.permuted(logits, axis=1).astype(draw(st.sampled_from([np.float32, np.float64])))


filters = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.6, 1.0, 2.5]),
        "top_k": st.sampled_from([None, 1, 2, 5, 40, 999, 5000]),
        "top_p": st.sampled_from([None, 0.03, 0.31, 0.9, 0.997]),
        "min_p": st.sampled_from([None, 0.0, 0.013, 0.37]),
    }
)


@given(logits=some_logits(), options=filters)
@settings(max_examples=300, deadline=None)
def test_filters_keep_what_a_full_sort_keeps(logits: Array, options: dict[str, Any]) -> None:
    strategy = Strategy(**options)
    if options["top_p"] is not None:  # a sum that reaches it exactly may be rounded to either side
        unfiltered = Strategy(options["temperature"], options["top_k"])
        sums = [np.cumsum(-np.sort(-by_a_full_sort(unfiltered, row))) for row in logits]
        assume(all((abs(row - options["top_p"]) > 1e-12).all() for row in sums))
    expected = np.stack([by_a_full_sort(strategy, row) for row in logits])
    np.testing.assert_allclose(strategy.probabilities(logits), expected, rtol=1e-11)
    np.testing.assert_array_equal(strategy.probabilities(logits[0]), strategy.probabilities(logits)[0])


@given(logits=some_logits(), options=filters, penalty=st.sampled_from([1.0, 1.3, 0.8]), greedy=st.booleans())
@settings(max_examples=300, deadline=None)
def test_rows_together_give_what_each_gives_alone(
    logits: Array, options: dict[str, Any], penalty: float, greedy: bool
) -> None:
    strategy = Strategy(**options | {"repetition_penalty": penalty} | ({"temperature": 0.0} if greedy else {}))
    seen = np.random.default_rng(5).random(logits.shape) < 0.3
    together = [np.random.default_rng([7, row]) for row in range(len(logits))]
    alone = [np.random.default_rng([7, row]) for row in range(len(logits))]
    for _ in range(2):  # the second token shows that the first took one number
        chosen = strategy.choose_each(logits, together, seen)
        each = [
            strategy.choose(row, rng, np.flatnonzero(old).tolist())
            for row, rng, old in zip(logits, alone, seen, strict=True)
        ]
        assert chosen == each
        assert all(type(token) is int for token in chosen)
    assert [rng.random() for rng in together] == [rng.random() for rng in alone]


def test_a_large_vocabulary_is_not_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_sizes: list[int] = []
    partition = np.partition

    class Watched(np.ndarray):
        def sort(self, *options: Any, **more: Any) -> None:
            sorted_sizes.append(self.size)
            super().sort(*options, **more)

    monkeypatch.setattr(np, "partition", lambda *options, **more: partition(*options, **more).view(Watched))
    for name in ("sort", "argsort", "lexsort"):
        monkeypatch.setattr(np, name, lambda *_, **__: pytest.fail("sorted"))
    logits = 4 * np.random.default_rng(0).standard_normal((1, 50_257)).astype(np.float32)
    for options in ({}, {"top_k": 40}, {"min_p": 0.1}, {"top_k": 40, "top_p": 0.9}, {"top_p": 0.9}):
        Strategy(**options).choose_each(logits, [np.random.default_rng(0)])
    assert len(sorted_sizes) == 2
    assert sorted_sizes[0] <= 40
    assert sorted_sizes[1] < 25_000
