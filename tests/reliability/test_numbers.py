"""NaN and infinity in losses and gradients, and spikes of the loss."""

import io
import json
import math
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_table import Tally
from rich.console import Console
from scenes import result
from support import Output, read_lines
from test_damaged import Listener

from handgrad.backend import Call, watching
from handgrad.cli.progress import TrainingDisplay
from handgrad.models import GPT
from handgrad.runs import Metrics, Run, find_checkpoint, load_model, open_run
from handgrad.runs.checkpoint import Progress, read_progress
from handgrad.runs.retention import checkpoints_of, read_pointer
from handgrad.system.errors import InputError
from handgrad.training import DivergedError, train
from handgrad.training.stability import record_loss

NewRun = Callable[..., Run]


class Poison(Listener):
    """Damages the model after a step, as a memory fault would."""

    def __init__(self, step: int, act: Callable[[GPT], None]) -> None:
        super().__init__()
        self.step, self.act = step, act

    def started(self, model: GPT, data: Any, progress: Progress) -> None:
        self.model = model

    def stepped(self, metrics: Metrics) -> None:
        if metrics.step == self.step:
            self.act(self.model)


class Spoiler:
    """Makes an operation return NaN or infinity, forward or backward, at its first call or at every second call."""

    def __init__(self, operation: str, value: float, *, backward: bool = False, again: bool = False) -> None:
        self.operation, self.value, self.backward, self.again = operation, value, backward, again
        self.calls = 0
        self.layer: object = self  # the layer whose call is spoilt; the spoiler itself means none

    def __call__(self, call: Call, run: Callable[[], Any]) -> Any:
        result = run()
        if call.operation == self.operation and not call.is_backward:
            self.calls += 1
            if self.calls == 1 or (self.again and self.calls % 2):
                self.layer = call.layer
        if call.layer is self.layer and call.is_backward == self.backward:
            spoilt = result[1] if self.backward else result[0]  # the gradient of the weight, or the output
            spoilt.reshape(-1)[0] = self.value
            self.layer = self
        return result


def spoil_after(run: Run, spoiler: Spoiler, step: int) -> tuple[Listener, Callable[[], bool]]:
    """A reporter and a ``should_stop`` that activates the spoiler from ``step`` on."""
    stack, asked = ExitStack(), iter(range(10**6))

    def ask() -> bool:
        if next(asked) == step:
            stack.enter_context(watching(spoiler))
        return False

    listener = Listener()
    listener.close = stack.close  # type: ignore[attr-defined]
    return listener, ask


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_a_step_with_such_numbers_stops_before_the_weights_are_touched(
    new_run: NewRun, backward: bool, value: float, tally: Tally
) -> None:
    """The spoilt layer is the first block's ``expand``, at step 8. Each step calls its operation once per block."""
    whole, run = new_run("whole", shards=1), new_run("run", shards=1)
    train(whole, whole.data())
    spoiler = Spoiler("linear_gelu", value, backward=backward, again=not backward)
    listener, ask = spoil_after(run, spoiler, step=7)
    with pytest.raises(DivergedError) as caught:
        train(run, run.data(), reporter=listener, should_stop=ask)
    listener.close()  # type: ignore[attr-defined]
    said = str(caught.value)
    assert said.startswith("training diverged at step 8: the ")
    assert "checkpoint step-00000005 is kept" in said
    if backward:
        assert "the first gradient that is not finite is that of h.0.mlp.c_fc.weight" in said
        assert "first seen" not in said
    else:
        assert "; first seen in the output of blocks.0.feed_forward.expand" in said
    assert read_progress(find_checkpoint(run.path, "last")).step == 5
    assert np.isfinite(load_model(find_checkpoint(run.path, "last"), run.model_config).arena.data).all()
    assert "NaN" not in run.metrics_path.read_text()
    train(open_run(run.path), run.data())
    assert result(run.path) == result(whole.path)
    tally("NaN or infinity in one layer", 1, "stopped before the weights changed; continued, bit for bit")


def test_the_layer_is_named(new_run: NewRun) -> None:
    """The weights are finite, but the second block's attention computes values too large for float32."""
    run = new_run(shards=2)

    def act(model: GPT) -> None:
        model.blocks[1].attention.project_in.weight.data[:, :12] = 3e38

    with pytest.raises(DivergedError) as caught:
        train(run, run.data(), reporter=Poison(8, act))
    said = str(caught.value)
    assert "step 9" in said
    assert "; first seen in the output of blocks.1.attention.project_in" in said
    assert "the first gradient that is not finite is that of " in said


def test_a_weight_that_is_already_bad_is_named(new_run: NewRun) -> None:
    run = new_run(shards=2)

    def act(model: GPT) -> None:
        model.blocks[0].feed_forward.contract.bias.data[3] = np.nan

    with pytest.raises(DivergedError, match=r"step 7: the loss is nan, because h.0.mlp.c_proj.bias already contains"):
        train(run, run.data(), reporter=Poison(6, act))


def test_no_checkpoint_is_made_of_such_weights(new_run: NewRun) -> None:
    """The weights are damaged after a step that has a checkpoint due, before it is written."""
    run = new_run(eval_interval=100)

    def act(model: GPT) -> None:
        model.norm.weight.data[0] = np.inf

    with pytest.raises(DivergedError, match=r"step 8: ln_f.weight contains NaN .*checkpoint step-00000004 is kept"):
        train(run, run.data(), reporter=Poison(8, act))
    assert read_progress(find_checkpoint(run.path, "last")).step == 4


def test_skipped_steps_leave_the_weights_alone_and_are_counted(new_run: NewRun, tally: Tally) -> None:
    run = new_run(shards=1, on_nan="skip", log_interval=100, eval_interval=100, checkpoint_interval=1, keep=30)
    listener, ask = spoil_after(run, Spoiler("linear_gelu", math.nan), step=7)
    weights: list[Any] = []
    listener.started = lambda model, data, progress: weights.append(model.arena.data)  # type: ignore[method-assign]
    listener.stepped = lambda metrics: weights.append(weights[0].copy())  # type: ignore[method-assign]
    outcome = train(run, run.data(), reporter=listener, should_stop=ask)
    listener.close()  # type: ignore[attr-defined]
    assert outcome.finished
    assert listener.heard[0].startswith("step 8 is skipped: the loss is nan")
    np.testing.assert_array_equal(weights[7], weights[8])
    assert (weights[8] != weights[9]).any()
    assert "step-00000008" not in checkpoints_of(run.path)  # weights that have just failed are not saved
    rows = read_lines(run.metrics_path)
    assert [(row["step"], row["loss"] is None, row["skipped"]) for row in rows[1:]] == [(8, True, 1), (20, False, 1)]
    progress = read_progress(find_checkpoint(run.path, "last"))
    assert (progress.skipped, progress.skipped_in_a_row) == (1, 0)
    tally("the same, with --on-nan skip", 1, "the step did not change the weights, and was counted and logged")


def test_too_many_skipped_steps_in_a_row_stop(new_run: NewRun) -> None:
    run = new_run(on_nan="skip", max_steps=100, checkpoint_interval=1000, eval_interval=1000)

    def act(model: GPT) -> None:
        model.norm.weight.data[0] = np.inf

    listener = Poison(8, act)
    with pytest.raises(
        DivergedError, match=r"step 59: 50 steps in a row were skipped, and the loss is nan, because ln_f"
    ):
        train(run, run.data(), reporter=listener)
    assert len(listener.heard) == 50


@pytest.mark.slow
@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_weights_that_have_run_away_do_not_push_out_the_last_good_ones(
    new_run: NewRun, on_nan: str, tally: Tally
) -> None:
    """The weights are finite but give no finite loss. Each step writes a checkpoint, and only one is kept."""
    run = new_run(checkpoint_interval=1, eval_interval=100, max_steps=100, keep=1, on_nan=on_nan)

    def act(model: GPT) -> None:
        model.arena.data[...] = 3e37

    with pytest.raises(DivergedError, match="checkpoint step-00000007 is kept"):
        train(run, run.data(), reporter=Poison(8, act))
    assert read_pointer(run.path, "last") == "step-00000007"
    assert np.abs(load_model(find_checkpoint(run.path, "last"), run.model_config).arena.data).max() < 10
    whole = new_run("whole", checkpoint_interval=1, eval_interval=100, max_steps=100, keep=1, on_nan=on_nan)
    train(whole, whole.data())
    train(open_run(run.path), run.data())
    assert result(run.path) == result(whole.path)
    assert checkpoints_of(run.path) == checkpoints_of(whole.path)
    tally("weights that run away", 1, "the last checkpoint with a finite loss stays; continued from it, bit for bit")


def test_a_skipped_step_is_shown(new_run: NewRun) -> None:
    for terminal in (False, True):
        shown = io.StringIO()
        run = new_run(f"run-{terminal}", log_interval=1)
        display = TrainingDisplay(run, Console(file=shown, force_terminal=terminal, width=100))
        display.started(GPT(run.model_config), run.data(), Progress())
        display.printed = -math.inf
        display.stepped(Metrics(3, None, None, None, 1e-3, None, 40, 10.0, 1.0, skipped=2))
        display.close()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
        assert "3/20  skipped, 2 steps so far  0:00 left  10 tokens/s" in plain


def test_on_nan_from_the_command_line(handgrad: Callable[..., Output], text_file: Path, tmp_path: Path) -> None:
    wild = "--lr 1e38 --optimizer sgd --beta1 0 --grad-clip 0 --warmup-steps 0 --block-size 8 --n-layer 1 --n-embd 8"
    done = handgrad(
        "train", "--text", text_file, "--out", tmp_path / "run", *wild.split(), "--on-nan", "skip", "--max-steps", 200
    )
    assert done.code == 1
    assert "50 steps in a row were skipped" in done.out
    assert "warning: step 3 is skipped: " in done.err


def test_a_loss_that_stands_out_is_marked_and_drawn(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """After step 70 the weights are disturbed; the next batch's loss shows it."""
    changes = {"max_steps": 80, "log_interval": 20, "eval_interval": 40, "lr": 1e-3}
    run, calm = new_run("run", **changes), new_run("calm", **changes)

    def act(model: GPT) -> None:
        model.head.weight.data *= 40

    listener = Poison(70, act)
    train(run, run.data(), reporter=listener)
    train(calm, calm.data())
    assert not any(row["spike"] for row in read_lines(calm.metrics_path))
    marked = [row for row in read_lines(run.metrics_path) if row["spike"]]
    assert marked[0]["step"] == 71  # logged though no line was due
    assert marked[0]["loss"] > read_lines(calm.metrics_path)[-1]["loss"] + 1
    assert listener.heard[0].startswith("step 71: the loss jumped to ")

    from matplotlib.axes import Axes

    from handgrad.plotting.curves import draw_curves

    drawn: dict[str, list[int]] = {}
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, label=None, **style: drawn.setdefault(label, list(x)))
    monkeypatch.setattr(Axes, "legend", lambda self, **style: None)
    draw_curves({"run": read_lines(run.metrics_path)})
    assert drawn["spikes"] == [row["step"] for row in marked]


def test_what_counts_as_standing_out() -> None:
    """Noise is no spike. A jump by more than five deviations is one; soon after, the new level is not."""
    rng = np.random.default_rng(0)
    progress, seen = Progress(), []
    for step in range(2000):
        progress.step = step
        level = 2.0 + 2 * math.exp(-step / 200) + (1.0 if step >= 1900 else 0.0)
        if record_loss(level + 0.1 * rng.standard_normal(), progress):
            seen.append(step)
    assert seen[0] == 1900
    assert seen[-1] < 1960


def test_spikes_are_found_where_they_were_after_a_resume(new_run: NewRun) -> None:
    """The checkpoint stores the mean and variance of the losses."""
    changes = {"max_steps": 60, "log_interval": 100, "eval_interval": 100, "checkpoint_interval": 7, "lr": 0.5}
    whole, halved = new_run("whole", **changes), new_run("halved", **changes)
    train(whole, whole.data())
    left = iter(range(33))
    train(halved, halved.data(), should_stop=lambda: next(left, None) is None)
    train(open_run(halved.path), halved.data())
    assert result(whole.path) == result(halved.path)


def test_ids_outside_the_vocabulary_are_refused_before_a_step(new_run: NewRun) -> None:
    """Damaged token files with an intact header and a wrong number."""
    for name in ("train.npy", "validation.npy"):
        run = new_run(name)
        path = run.data_directory / name
        content = bytearray(path.read_bytes())
        content[-2:] = b"\xff\xff"
        content[-400:-200] = b"\xff" * 200
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"the {path.stem} token file of test text is damaged"):
            train(run, run.data())
        meta = path.with_name("meta.json")
        known = json.loads(meta.read_text())
        meta.write_text(json.dumps({**known, "train_sha256": "", "validation_sha256": ""}))  # as in older files
        with pytest.raises(InputError, match=r"they hold the id 65535, and the vocabulary ends at \d+"):
            train(run, run.data())
