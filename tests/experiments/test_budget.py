"""Budgets: how they are written, and how many steps they are."""

import math
from typing import Any

import pytest
from small_comparison import CORPUS, SMALL

from handgrad.experiments import Budget, budget, budgets_for
from handgrad.experiments.candidates import candidate
from handgrad.experiments.tokenizer_comparison import encoded
from handgrad.system.errors import InputError


@pytest.mark.parametrize(
    ("text", "name", "amount", "unit"),
    [
        ("8000steps", None, 8000, "steps"),
        ("8_000 steps", None, 8000, "steps"),
        ("word=2.5e6characters", "word", 2_500_000, "characters"),
        ("word-lowercase=600seconds", "word-lowercase", 600, "seconds"),
        ("word=2.5minutes", "word", 2.5, "minutes"),
        ("7", None, 7, "steps"),
    ],
)
def test_a_budget_as_one_writes_it(text: str, name: str | None, amount: float, unit: Any) -> None:
    assert Budget.parse(text) == (name, Budget(amount, unit))


@pytest.mark.parametrize(
    "text", ["", "word=", "-5", "steps", "1_steps", "1__0", "5e-3steps", "5steps ", "a b=5", "1,5"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a budget is written like 8000steps"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0", "0.0seconds", "1e15", "1e99steps", "9" * 400])
def test_an_amount_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="above 0 and below 1e"):
        Budget.parse(text)


def test_a_unit_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="in steps, characters, seconds, minutes, not 'hours'"):
        Budget.parse("5hours")


@pytest.mark.parametrize(
    ("one", "said"),
    [(Budget(8000.0), "8,000 steps"), (Budget(2.5, "seconds"), "2.5 seconds"), (Budget(12), "12 steps")],
)
def test_a_budget_in_words(one: Budget, said: str) -> None:
    assert str(one) == said


def test_each_has_its_own_budget_or_that_of_all_or_the_default() -> None:
    default = Budget(9)
    assert budgets_for(["char", "bpe"], [], default) == {"char": default, "bpe": default}
    found = budgets_for(["char", "bpe"], ["bpe=5seconds", "100characters"], default)
    assert found == {"char": Budget(100, "characters"), "bpe": Budget(5, "seconds")}
    assert budgets_for(["char", "bpe"], ["bpe=5"], default) == {"char": default, "bpe": Budget(5)}


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["words=5"], "'words=5' is for 'words', which is not compared; choose from char, word"),
        (["5", "6characters"], "'6characters' is the second for all"),
        (["word=5", "word=6"], "'word=6' is the second for word"),
    ],
)
def test_budgets_that_contradict_are_refused(said: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        budgets_for(["char", "word"], said, Budget(1))


@pytest.mark.parametrize("name", ["char", "word"])
def test_characters_come_to_the_steps_that_show_as_many(name: str) -> None:
    data = encoded(CORPUS, candidate(name), SMALL)
    seen = SMALL.batch_size * SMALL.block_size * len(CORPUS.split()[0]) / len(data.train)
    assert Budget(10_000, "characters").steps(SMALL, data) == math.ceil(10_000 / seen)
    assert Budget(1, "characters").steps(SMALL, data) == 1
    twice = SMALL.updated({"grad_accum_steps": 2}, "test")
    assert Budget(10_000, "characters").steps(twice, data) == math.ceil(10_000 / (2 * seen))


def test_seconds_come_to_the_steps_that_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(CORPUS, candidate("char"), SMALL)
    asked: list[Any] = []

    def three_seconds(*arguments: Any) -> float:
        asked.append(arguments)
        return 3.0

    monkeypatch.setattr(budget, "seconds_per_step", three_seconds)
    assert Budget(60, "seconds").steps(SMALL, data) == 20
    assert asked == [(SMALL, data, SMALL.shards, 60)]
    assert Budget(1, "seconds").steps(SMALL, data) == 1
    assert Budget(0.5, "minutes").steps(SMALL, data) == 10
    monkeypatch.undo()
    assert Budget(1, "seconds").steps(SMALL, data) > 1
