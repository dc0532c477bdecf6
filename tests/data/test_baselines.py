"""The losses that a model should beat."""

import json
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from handgrad.data import Baselines, Corpus, baselines_of, encode_corpus
from handgrad.data.baselines import bigram_loss
from handgrad.runs import Run, open_run
from handgrad.system.errors import InputError
from handgrad.tokenizers import CharTokenizer


def by_hand(train: list[int], validation: list[int], V: int) -> float:
    """The same as ``bigram_loss``, from its formula, pair by pair."""
    pairs = list(pairwise(train))
    losses = []
    for i, j in pairwise(validation):
        n_i, t_i = sum(a == i for a, _ in pairs), len({b for a, b in pairs if a == i})
        p = (train.count(j) + 1) / (len(train) + V)
        losses.append(-math.log((pairs.count((i, j)) + t_i * p) / (n_i + t_i) if n_i else p))
    return math.fsum(losses) / len(losses)


def test_the_bigram_loss_is_its_formula() -> None:
    rng = np.random.default_rng(3)
    for V, dtype in ((5, np.uint16), (40, np.uint32)):
        train, validation = rng.integers(0, V - 1, 60).astype(dtype), rng.integers(0, V, 30).astype(dtype)
        assert bigram_loss(train, validation, V) == pytest.approx(by_hand(train.tolist(), validation.tolist(), V))


def test_the_probabilities_add_up_to_one() -> None:
    train, V = np.array([0, 1, 0, 2, 2, 1, 0, 1]), 5
    for i in range(V):
        given = [math.exp(-bigram_loss(train, np.array([i, j]), V)) for j in range(V)]
        assert math.fsum(given) == pytest.approx(1)


def test_a_text_that_repeats_is_easy_and_one_part_may_be_too_short() -> None:
    corpus = Corpus("ab" * 1000, "test")
    data = encode_corpus(corpus, CharTokenizer().train(corpus.text))
    found = baselines_of(data)
    assert found is not None
    assert found.uniform == math.log(data.meta.vocab_size)
    assert found.bigram < 0.01
    short = encode_corpus(Corpus("ab" * 5, "test"), data.tokenizer)
    assert baselines_of(short) is None
    data.train.setflags(write=True)
    data.train[3] = 999
    with pytest.raises(InputError, match="they hold the id 999"):
        baselines_of(data)


def test_a_run_keeps_them_and_an_old_run_has_none(new_run: Callable[..., Run]) -> None:
    run = new_run()
    assert run.baselines is not None
    assert open_run(run.path).baselines == run.baselines == baselines_of(run.data())
    content = json.loads((run.path / "config.json").read_text())
    for broken in ({"uniform": 1.0}, {"uniform": 1.0, "bigram": -1.0}, "x", {"uniform": 1.0, "bigram": None}):
        (run.path / "config.json").write_text(json.dumps({**content, "baselines": broken}))
        with pytest.raises(InputError, match=r"config\.json is damaged"):
            open_run(run.path)
    del content["baselines"]
    (run.path / "config.json").write_text(json.dumps(content))
    assert open_run(run.path).baselines is None


def test_baselines_are_finite() -> None:
    with pytest.raises(ValueError, match="bigram must be a finite number"):
        Baselines(1.0, math.nan)
