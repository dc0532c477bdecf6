"""The benchmark times the same mathematics on both sides."""

from dataclasses import replace

import pytest

from handgrad.benchmarking import Contender, case_of, compare, handgrad_contender, pytorch_contender
from handgrad.benchmarking.cases import Case
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


def test_bfloat16_is_near() -> None:
    case = small("shakespeare-cpu")
    assert results(handgrad_contender(case), 3) == pytest.approx(
        results(pytorch_contender(case, bfloat16=True), 3), abs=2e-2
    )


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
