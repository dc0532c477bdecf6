"""The benchmark times the same mathematics on both sides."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from handgrad.autograd import no_grad
from handgrad.benchmarking import Contender, case_of, compare, handgrad_contender, pytorch_contender
from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import why_no_bfloat16
from handgrad.generation import generate
from handgrad.runs import PRESETS


def small(preset: str) -> Case:
    """A preset's model and optimizer, scaled down."""
    case = case_of(preset)
    train = replace(case.train, n_layer=2, n_head=2, n_embd=16, block_size=12, batch_size=4, warmup_steps=3)
    return replace(case, train=train, vocab_size=31, tokens=12)


def results(contender: Contender, calls: int) -> list[float]:
    with contender.around():
        found = [contender.run() for _ in range(calls)]
    contender.close()
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_a_training_step_is_the_same(preset: str) -> None:
    """Presets with Muon are compared with AdamW, as PyTorch's Muon computes something else: see the next test."""
    case = small(preset)
    if case.train.optimizer == "muon":
        case = replace(case, train=replace(case.train, optimizer="adamw"))
    theirs = pytorch_contender(case)
    theirs.prepare()
    assert results(handgrad_contender(case), 12) == pytest.approx(results(theirs, 12), abs=1e-4)


def test_a_step_with_muon_is_near() -> None:
    """PyTorch's Muon rounds to bfloat16, and orthogonalises queries, keys and values as one."""
    case = small("shakespeare-cpu")
    case = replace(case, train=replace(case.train, optimizer="muon"))
    theirs = pytorch_contender(case)
    theirs.prepare()
    ours, expected = results(handgrad_contender(case), 12), results(theirs, 12)
    assert ours == pytest.approx(expected, abs=3e-2)
    assert ours[:1] == pytest.approx(expected[:1], abs=1e-5)


@pytest.mark.parametrize("work", ["evaluation", "generation"])
def test_other_work_is_the_same(work: str) -> None:
    case = small("shakespeare-cpu")
    assert results(handgrad_contender(case, work), 1) == pytest.approx(
        results(pytorch_contender(case, work), 1), abs=1e-5
    )


GPT2S = {
    "no biases": {"bias": False},
    "biases": {"bias": True},
    "untied head": {"bias": False, "tie_weights": False},
    "ReLU, a narrow feed-forward network": {"activation": "relu", "n_hidden": 24},
    "exact GELU, another norm_eps": {"activation": "gelu_exact", "norm_eps": 1e-2},
}


@pytest.mark.parametrize("name", GPT2S)
def test_transformers_has_the_same_logits_and_writes_the_same_tokens(name: str) -> None:
    """Large weights, so that the logits of a wrong twin are far off and the text does not repeat one token."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    import torch

    from handgrad.benchmarking.transformers_gpt2 import gpt2_twin, why_not_gpt2, write_greedily

    case = small("shakespeare-cpu")
    case = replace(case, train=replace(case.train, embedding_std=0.5, matrix_std=0.4, **GPT2S[name]))
    assert why_not_gpt2(case.model_config) is None
    ours = case.make_model().eval()
    rng = np.random.default_rng(1)
    for parameter in ours.parameters_by_role()["vector"]:  # gains and biases begin at 1 and 0
        parameter.data += rng.normal(0, 0.3, parameter.data.shape).astype(np.float32)
    theirs = gpt2_twin(ours)
    ids = case.batch(0)[0][:, :9].copy()
    with no_grad(), torch.no_grad():
        np.testing.assert_allclose(theirs(torch.from_numpy(ids)).logits.numpy(), ours.logits(ids), rtol=0, atol=2e-4)
    prompt = ids[:1, :2].copy()
    written = list(generate(ours, prompt[0], 10, temperature=0))
    assert write_greedily(theirs, torch.from_numpy(prompt), 10) == written
    assert len(set(written)) > 2


def test_all_contenders_of_a_generation_write_the_same_tokens() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    said: list[str] = []
    case = replace(small("shakespeare-cpu"), train=replace(small("shakespeare-cpu").train, embedding_std=0.5))
    one = compare(case, "generation", rounds=2, compiled=True, bfloat16=True, replicas=0, say=said.append)
    assert one.apart == {"PyTorch eager": 0, "transformers": 0}
    assert one.tokens == 11  # with the prompt they fill block_size
    assert {name: rate * one.seconds[name] for name, rate in one.tokens_per_second.items()} == pytest.approx(
        {"handgrad": 11, "PyTorch eager": 11, "transformers": 11}
    )
    assert one.ratio_to_best == max(one.ratios.values())
    assert len(said) == 1  # the expected time


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"norm": "rms"}, "norm rms"),
        ({"positions": "rotary"}, "positions rotary"),
        ({"qk_norm": True}, "qk_norm"),
        ({"n_kv_head": 1}, "n_kv_head 1"),
        ({"head_dim": 4}, "head_dim 4"),
        ({"window": 5}, "window 5"),
        ({"attention_scale": 0.5}, "attention_scale 0.5"),
        ({"activation": "swiglu"}, "activation swiglu"),
        ({"embedding_scale": 2.0}, "embedding_scale 2"),
        ({"embedding_norm": True}, "embedding_norm"),
        ({"token_shift": True}, "token_shift"),
        ({"logit_cap": 15.0}, "logit_cap 15"),
        ({"bias": True, "tie_weights": False}, "a bias in its output head"),
    ],
)
def test_a_model_that_is_no_gpt2_is_left_out_in_one_sentence(changes: dict[str, Any], lacking: str) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    case = small("shakespeare-cpu")
    case = replace(case, train=replace(case.train, **changes))
    said: list[str] = []
    one = compare(case, "generation", rounds=1, compiled=False, bfloat16=False, replicas=0, say=said.append)
    assert f"transformers is left out, because its GPT-2 does not have {lacking}" in said
    assert list(one.ratios) == ["PyTorch eager"]


def test_bfloat16_is_near() -> None:
    case = small("shakespeare-cpu")
    assert results(handgrad_contender(case), 3) == pytest.approx(
        results(pytorch_contender(case, bfloat16=True), 3), abs=2e-2
    )


def test_in_bfloat16_both_are_near() -> None:
    """They round the same operands; the sums of their products are in other orders."""
    if (why := why_no_bfloat16()) is not None:
        pytest.skip(f"handgrad is not timed in bfloat16, because {why}")
    case = small("shakespeare-cpu")
    ours, theirs = handgrad_contender(case, bfloat16=True), pytorch_contender(case, bfloat16=True)
    assert ours.name == "handgrad, bf16"
    losses = results(ours, 6)
    assert losses == pytest.approx(results(theirs, 6), abs=1e-3)
    assert losses != results(handgrad_contender(case), 6)


def test_a_form_that_does_not_run_here_is_said_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.benchmarking import side_by_side

    def failing(case: Case, work: str, **form: bool) -> Contender:
        def fail() -> None:
            raise RuntimeError("no compiler\nand more")

        return (
            replace(pytorch_contender(case, work, bfloat16=form["bfloat16"]), prepare=fail)
            if form["compiled"]
            else pytorch_contender(case, work, **form)
        )

    monkeypatch.setattr(side_by_side, "pytorch_contender", failing)
    said: list[str] = []
    one = compare(small("quick"), "evaluation", rounds=2, compiled=True, bfloat16=False, replicas=0, say=said.append)
    assert list(one.ratios) == ["PyTorch eager"]
    assert one.ratio_to_best == one.ratios["PyTorch eager"]
    assert "PyTorch eager does not run here: no compiler" in said
