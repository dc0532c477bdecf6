"""handgrad train --minutes as a user calls it: what it says, the run that it makes, and what it refuses."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import SMALLEST, Output, as_flags, read_lines

from handgrad.runs import Pace, find_checkpoint, open_run
from handgrad.system.locks import LOCK

Handgrad = Callable[..., Output]
SMALL = [*SMALLEST, *as_flags(batch_size=4, shards=2, tokenizer="char", log_interval=3)]


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a step takes a second, an evaluation two and a checkpoint four."""
    monkeypatch.setattr("handgrad.cli.train.measure_pace", lambda *_, **__: Pace(1.0, 2.0, 4.0))


@pytest.mark.usefixtures("paced")
def test_the_run_is_that_of_as_many_steps(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL, "--minutes", 0.75)
    assert done.code == 0, done.err
    first, second, *_ = done.out.splitlines()
    assert first == (
        "0.75 minutes: 31 steps, because on this machine a step takes 1.0 s, an evaluation 2.0 s and a checkpoint 4.0 s"
    )
    assert second.startswith("training ")
    assert "warning: warmup_steps becomes 1 instead of 20" in done.err
    assert "checkpoint_interval becomes 31 instead of 150: the run has 31 steps instead of 600" in done.err
    config = open_run(tmp_path / "run").config
    assert (config.max_steps, config.warmup_steps, config.eval_interval) == (31, 1, 24)
    same = as_flags(max_steps=31, warmup_steps=1, eval_interval=24, checkpoint_interval=31)
    assert handgrad("train", "--text", text_file, "--out", tmp_path / "same", *SMALL, *same).code == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "same")
    assert open_run(tmp_path / "same").config == config


def contents(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The last weights, and the metrics without times."""
    rows = [{name: row[name] for name in row if "second" not in name} for row in read_lines(run / "metrics.jsonl")]
    return (find_checkpoint(run, "last") / "model.safetensors").read_bytes(), rows


def test_the_pace_is_measured(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    flags = (*SMALL, "--minutes", "0.1", "--sample-interval", 100_000)
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *flags)
    assert done.code == 0, done.err
    found = re.match(r"0\.1 minutes: ([\d,]+) steps, because on this machine a step takes .* and a sample ", done.out)
    assert found is not None, done.out
    steps = int(found[1].replace(",", ""))
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == steps >= 10
    assert open_run(tmp_path / "run").config.max_steps == steps


def test_ended_while_it_measures_it_leaves_nothing(
    handgrad: Handgrad, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        (arguments[3] / "timed").mkdir()  # as if the checkpoint were just being written
        raise KeyboardInterrupt

    arguments = ("train", "--text", text_file, "--out", tmp_path / "run", *SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.train.measure_pace", interrupted)
        assert handgrad(*arguments, "--minutes", 1).code == 130
    assert not (tmp_path / "run").exists()
    # A process that is killed there leaves this.
    for name in ("timed", ".timed.7.tmp"):
        (tmp_path / "run" / name).mkdir(parents=True)
    for name in (".beginning.tmp", LOCK):
        (tmp_path / "run" / name).touch()
    assert handgrad(*arguments, "--max-steps", 1).code == 0
    assert not (tmp_path / "run" / "timed").exists()


@pytest.mark.usefixtures("paced")
def test_a_file_may_give_a_length_that_minutes_override(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("max_steps = 5\nwarmup_steps = 20\n")
    flags = (*SMALL, "--config", tmp_path / "settings.toml", "--minutes", 1)
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *flags)
    assert done.code == 0, done.err
    assert f"max_steps of {tmp_path / 'settings.toml'} has no effect, because --minutes says how long" in done.err
    assert "would never reach" not in done.err  # the warm-up fits into the minutes
    config = open_run(tmp_path / "run").config
    assert (config.max_steps, config.warmup_steps) == (46, 20)


REFUSED = {
    "both": (["--max-steps", "9", "--minutes", "1"], "--minutes and --max-steps both say how long to train; give one"),
    "nothing": (["--minutes", "0"], "--minutes must be above 0 and at most 527,040, a year, not 0"),
    "no number": (["--minutes", "x"], "--minutes must be a number, not 'x'"),
    "short": (["--minutes", "0.2"], "--minutes 0.2 is too short for 10 steps of this run: a step takes 1.0 s"),
    "warm-up": (
        ["--minutes", "1", "--warmup-steps", "900"],
        "--minutes 1 is 46 steps on this machine, and warmup_steps must be less than max_steps, 46, not 900",
    ),
}


@pytest.mark.usefixtures("paced")
@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_is_one_sentence_and_leaves_nothing(
    case: str, handgrad: Handgrad, text_file: Path, tmp_path: Path
) -> None:
    flags, said = REFUSED[case]
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL, *flags)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_resumed_keeps_its_length(handgrad: Handgrad, new_run: Callable[..., Any]) -> None:
    done = handgrad("train", "--resume", new_run().path, "--minutes", 3)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--minutes chooses the length of a new run; " in done.err
    assert done.err.endswith("has 20 steps, and --max-steps gives it another number\n")
