"""Runs in bfloat16: they resume bit for bit, their samples are in float32, and their losses stay near float32's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import read_lines

from handgrad.generation import write
from handgrad.runs import Run
from handgrad.system.arrays import Array
from handgrad.training import Reporter, train

NewRun = Callable[..., Run]


def weights(run: Run) -> Array:
    return run.model("last")[0].arena.data


def losses(path: Path) -> list[float]:
    return [line["loss"] for line in read_lines(path / "metrics.jsonl") if line["loss"] is not None]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_resumes_bit_for_bit(new_run: NewRun, optimizer: str) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer, "precision": "bfloat16", "max_steps": 12, "dropout": 0.1}
    whole, halves = new_run("whole", **settings), new_run("halves", **settings)
    train(whole, whole.data())
    left = iter(range(7))
    assert not train(halves, halves.data(), should_stop=lambda: next(left, None) is None).finished
    assert train(halves, halves.data()).finished
    assert weights(halves).tobytes() == weights(whole).tobytes()
    plain = new_run("plain", **{**settings, "precision": "float32"})
    train(plain, plain.data())
    assert not np.array_equal(weights(plain), weights(whole))
    np.testing.assert_allclose(losses(whole.path), losses(plain.path), atol=0.05)


def test_samples_during_training_are_those_of_float32(new_run: NewRun) -> None:
    run = new_run(precision="bfloat16", max_steps=3, sample_interval=1)
    texts: list[tuple[str, str]] = []

    class Sampler(Reporter):
        def evaluated(self, metrics: Any, model: Any) -> None:
            tokenizer = run.tokenizer()
            texts.append((write(model, tokenizer, 40), write(model.in_precision("float32"), tokenizer, 40)))

    train(run, run.data(), reporter=Sampler())
    assert texts
    assert all(ours == exact for ours, exact in texts)
