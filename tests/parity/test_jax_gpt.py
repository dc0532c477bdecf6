"""The GPT in JAX, which the benchmark times, is the same mathematics: one pass of every kind, and training steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_gpt import KINDS, MIXTURES

from handgrad.benchmarking import Contender, case_of, compare, handgrad_contender, jax_contender
from handgrad.benchmarking.cases import Case
from handgrad.checking import relative_error
from handgrad.models import GPT, GPTConfig
from handgrad.runs import PRESETS
from handgrad.system.errors import InputError

pytest.importorskip("jax", reason="JAX is not installed: nothing to compare with")

FEW = {name: KINDS[name] for name in ("gpt2", "rotary", "wide heads, one key head", "window", "untied", "gelu_exact")}


def small(preset: str) -> Case:
    """A preset's model and optimizer, scaled down."""
    case = case_of(preset)
    train = replace(case.train, n_layer=2, n_head=2, n_embd=16, block_size=12, batch_size=4, warmup_steps=3)
    return replace(case, train=train, vocab_size=31, tokens=12)


def results(contender: Contender, calls: int) -> list[float]:
    contender.prepare()
    with contender.around():
        found = [contender.run() for _ in range(calls)]
    contender.close()
    return found


@pytest.mark.parametrize("kind", [*FEW, *MIXTURES])
def test_the_loss_and_every_gradient_of_a_pass(kind: str) -> None:
    import jax

    from handgrad.benchmarking.jax_gpt import jax_twin, loss_of

    config = GPTConfig(11, 8, 2, 4, 16, **(FEW | MIXTURES)[kind])
    ours, rng = GPT(config), np.random.default_rng(3)
    ours.arena.data[...] = rng.standard_normal(ours.n_parameters) / 2
    ids, targets = rng.integers(0, 11, (2, 3, 7))
    loss = ours.loss(ids, targets)
    ours.backward()
    theirs, gradients = jax.value_and_grad(loss_of)(
        jax_twin(ours), config, ids.astype(np.int32), targets.astype(np.int32)
    )
    assert loss == pytest.approx(float(theirs), rel=1e-5)
    named = dict(ours.named_parameters())
    assert gradients.keys() == named.keys()
    for name, parameter in named.items():
        assert parameter.grad is not None
        assert relative_error(parameter.grad, np.asarray(gradients[name])) <= 1e-4, name


@pytest.mark.parametrize("preset", PRESETS)
def test_training_steps_are_the_same(preset: str) -> None:
    """With Muon too, which here treats queries, keys and values as ours does."""
    case = small(preset)
    ours, theirs = (results(make(case), 12) for make in (handgrad_contender, jax_contender))
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert len(set(ours)) == 12


def test_the_evaluation_is_the_same() -> None:
    case = small("shakespeare-cpu")
    ours, theirs = (results(make(case, "evaluation"), 1) for make in (handgrad_contender, jax_contender))
    assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"dropout": 0.1}, "dropout 0.1"),
        ({"optimizer": "sgd"}, "the optimizer sgd"),
        ({"cautious": True}, "cautious weight decay"),
    ],
)
def test_what_the_twin_lacks_is_named(changes: dict[str, Any], lacking: str) -> None:
    case = small("shakespeare-cpu")
    with pytest.raises(InputError, match=f"JAX is left out, because its GPT does not have {lacking}"):
        jax_contender(replace(case, train=replace(case.train, **changes)))


def test_jax_takes_part_in_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.benchmarking import side_by_side

    monkeypatch.setattr(side_by_side, "has_torch", lambda: False)
    monkeypatch.setattr(side_by_side, "measure_memory", lambda *_: None)
    options: dict[str, Any] = {
        "rounds": 1,
        "compiled": False,
        "bfloat16": False,
        "shards": 0,
        "replicas": 0,
        "say": lambda _: None,
    }
    one = compare(small("shakespeare-cpu"), "training", **options)
    assert one.ratios["JAX"] > 0
    assert one.apart["JAX"] < 1e-4
    assert one.share_of_floor.keys() == {"handgrad", "JAX"}
    assert one.ratio_to_best is None  # that is PyTorch's
    assert "JAX" not in compare(small("shakespeare-cpu"), "training", jax=False, **options).ratios
    assert "JAX" not in compare(small("shakespeare-cpu"), "generation", **options).ratios
