"""Runs with Muon and with averaged weights: who moves what, at which rate, and which weights a checkpoint holds."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support import TINY, read_lines
from threadpoolctl import threadpool_info, threadpool_limits

from handgrad import ops
from handgrad.models import GPT, load
from handgrad.models.formats.model_in_checkpoint import read_pointer, read_state
from handgrad.optim import AdamW, Combined, Muon, WeightAverage
from handgrad.runs import Metrics, Run, find_checkpoint
from handgrad.runs.checkpoint import load_checkpoint
from handgrad.system.errors import DamagedError
from handgrad.training import DivergedError, Reporter, evaluate, train
from handgrad.training.starting import begin_or_continue
from handgrad.training.step import Stepper

NewRun = Callable[..., Run]


@pytest.mark.parametrize("tie_weights", [True, False])
def test_muon_moves_the_matrices_and_adamw_everything_else(tie_weights: bool) -> None:
    changes = {"optimizer": "muon", "muon_lr": 0.05, "muon_momentum": 0.8, "cautious": True, "beta1": 0.7}
    config = TINY.updated({**changes, "tie_weights": tie_weights}, "test")
    model = GPT(config.model_config(5))
    optimizer = config.make_optimizer(model.decay_groups(0.3))
    assert isinstance(optimizer, Combined)
    assert [type(each) for each in optimizer.optimizers] == [Muon, AdamW]
    matrices, decayed, others = optimizer.param_groups
    roles = model.parameters_by_role()
    for group, expected in (
        (matrices, roles["matrix"]),
        (decayed, [*roles["embedding"], *roles["head"]]),
        (others, roles["vector"]),
    ):
        assert {id(p) for p in group["params"]} == {id(p) for p in expected}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.3, 0.0]
    assert [group["cautious"] for group in optimizer.param_groups] == [True, True, True]
    assert (matrices["lr"], matrices["momentum"], matrices["nesterov"]) == (0.05, 0.8, True)
    assert (decayed["lr"], decayed["betas"]) == (others["lr"], others["betas"]) == (config.lr, (0.7, 0.99))


def test_the_schedule_moves_both_rates_in_proportion(new_run: NewRun) -> None:
    run = new_run(optimizer="muon", muon_lr=0.05)
    model = GPT(run.model_config)
    stepper = Stepper(
        run.config, run.shards, run.data(), model, run.config.make_optimizer(model.decay_groups(0.1)), lambda *_: None
    )
    for number in (0, 3, 11, 19):
        lr = run.config.make_schedule()(number)
        _, norm, _ = stepper.gradient(number)
        stepper.update(lr, norm, number)
        muon, *rest = (group["lr"] for group in stepper.optimizer.param_groups)
        assert rest == [lr, lr]
        assert muon == pytest.approx(0.05 * lr / run.config.lr, rel=1e-12)
    stepper.close()


def test_blas_and_the_team_do_not_compete_for_the_cores(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one shard BLAS may have all cores, but not while the team orthogonalises matrices."""
    seen = []
    newton_schulz = ops.newton_schulz

    def watched(*arguments: Any) -> Any:
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return newton_schulz(*arguments)

    monkeypatch.setattr("handgrad.optim.muon.function_for", lambda *_: watched)
    with threadpool_limits(2, user_api="blas"):
        run = new_run(optimizer="muon", shards=1, max_steps=1)
        train(run, run.data())
        assert {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"} == {2}
    assert set(seen) == {1}


def averaged(run: Run) -> list[np.ndarray]:
    """The average of a run's weights after each of its steps, and the weights, computed apart from the training."""
    config = run.config
    model = GPT(run.model_config, seed=config.seed)
    optimizer, schedule = config.make_optimizer(model.decay_groups(config.weight_decay)), config.make_schedule()
    stepper = Stepper(run.config, run.shards, run.data(), model, optimizer, lambda *_: None)
    mean, found = model.arena.data.astype(np.float64), []
    for number in range(config.max_steps):
        _, norm, _ = stepper.gradient(number)
        stepper.update(schedule(number), norm, number)
        d = min(config.ema, (1 + number) / (10 + number))
        mean = d * mean + (1 - d) * model.arena.data
        found += [mean.astype(np.float32), model.arena.data.copy()]
    stepper.close()
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_averaged_weights_are_evaluated_sampled_saved_and_loaded(new_run: NewRun, optimizer: str) -> None:
    run = new_run(ema=0.6, optimizer=optimizer, sample_interval=3, max_steps=10)
    *_, mean, weights_of_training = expected = averaged(run)
    seen: dict[str, list[np.ndarray]] = {"stepped": [], "evaluated": []}

    class Watcher(Reporter):
        def started(self, model: Any, data: Any, progress: Any) -> None:
            self.model = model

        def stepped(self, metrics: Metrics) -> None:
            seen["stepped"].append(self.model.arena.data.copy())

        def evaluated(self, metrics: Metrics, model: Any) -> None:
            seen["evaluated"].append(model.arena.data.copy())

    train(run, run.data(), reporter=Watcher())
    means, raws = expected[::2], expected[1::2]
    for number, found in enumerate(seen["stepped"], start=1):
        np.testing.assert_allclose(found, (means if number % 3 == 0 else raws)[number - 1], rtol=0, atol=1e-6)
    for number, found in zip((5, 10), seen["evaluated"][1:], strict=True):
        np.testing.assert_allclose(found, means[number - 1], rtol=0, atol=1e-6)
        assert np.abs(found - raws[number - 1]).max() > 1e-4

    last = find_checkpoint(run.path, "last")
    loaded = load(run.path)
    np.testing.assert_allclose(loaded.arena.data, mean, rtol=0, atol=1e-6)
    arrays = safetensors.numpy.load_file(last / "optimizer.safetensors")
    for part in loaded.arena.parts:
        name = next(name for name, p in loaded.named_parameters() if p is part.parameter)
        np.testing.assert_array_equal(arrays[f"weight.{loaded.stored_name(name)}"], part.of(weights_of_training))
    rows = [row for row in read_lines(run.metrics_path) if row["val_loss"] is not None]
    assert rows[-1]["val_loss"] == pytest.approx(evaluate(loaded, run.data().validation), rel=1e-6)

    # A run that starts from it starts from the averaged weights.
    other = new_run("other", init_from=last, ema=0.5, max_steps=1)
    begun = begin_or_continue(other, lambda sentence: None)
    np.testing.assert_array_equal(begun.model.arena.data, loaded.arena.data)
    assert begun.average is not None
    np.testing.assert_array_equal(begun.average.values, loaded.arena.data)


def test_a_skipped_step_is_not_averaged(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average counts updates: after the skip it goes on as if the step had not been there."""
    counted: list[int] = []
    update = WeightAverage.update

    def watched(self: WeightAverage, steps: int, team: Any) -> None:
        counted.append(steps)
        update(self, steps, team)

    monkeypatch.setattr(WeightAverage, "update", watched)
    gradient = Stepper.gradient
    monkeypatch.setattr(
        Stepper, "gradient", lambda self, number: (math.nan, math.nan, 1) if number == 2 else gradient(self, number)
    )
    monkeypatch.setattr(Stepper, "why_not_finite", lambda *_: "a test")
    run = new_run(ema=0.9, on_nan="skip", max_steps=6)
    train(run, run.data())
    assert counted == [0, 1, 2, 3, 4]


def test_weights_that_go_on_from_an_average_are_checked(new_run: NewRun) -> None:
    """A checkpoint without them, or of another shape, counts as damaged; so does one that has them for no reason."""
    run = new_run(ema=0.9, max_steps=4)
    train(run, run.data())
    checkpoint = find_checkpoint(run.path, "last")
    state, arrays = read_state(checkpoint), safetensors.numpy.load_file(checkpoint / "optimizer.safetensors")
    config, model = run.config, GPT(run.model_config)

    def loaded(ema: float, changes: dict[str, Any]) -> Any:
        changed = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
        safetensors.numpy.save_file(changed, checkpoint / "optimizer.safetensors")
        optimizer = config.make_optimizer(model.decay_groups(0.1))
        average = config.updated({"ema": ema}, "test").make_average(model.arena.data)
        return load_checkpoint(checkpoint, state, model, optimizer, average)

    assert loaded(0.9, {}).step == 4
    for ema, changes in (
        (0.9, {"weight.wte.weight": None}),
        (0.9, {"weight.wte.weight": arrays["weight.wte.weight"][:1]}),
        (0.9, {"weight.ln_f.bias": arrays["weight.ln_f.bias"].astype(np.float64)}),
        (0.9, {"weight.wte.other": arrays["weight.wte.weight"]}),
        (0.0, {}),
    ):
        with pytest.raises(DamagedError, match="is damaged"):
            loaded(ema, changes)


@pytest.mark.parametrize(("ema", "step"), [(0.9, 0), (0.0, 5)])
def test_an_evaluation_of_the_average_says_nothing_about_the_weights_of_training(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch, ema: float, step: int
) -> None:
    """The weights of step 5 fail in the step after: if only their average gave a finite loss, ``last`` goes back."""
    gradient = Stepper.gradient
    monkeypatch.setattr(
        Stepper, "gradient", lambda self, number: (math.nan, math.nan, 1) if number == 5 else gradient(self, number)
    )
    monkeypatch.setattr(Stepper, "why_not_finite", lambda *_: "a test")
    run = new_run(ema=ema, eval_interval=5, checkpoint_interval=5)
    with pytest.raises(DivergedError):
        train(run, run.data())
    assert read_pointer(run.path, "last") == f"step-{step:08d}"
