"""handgrad compare --recipes as a user calls it: its output, its files, resuming, and bad input."""

import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import TEXT, Output, start

from handgrad.cli.main import main
from handgrad.experiments import LADDER, measures, open_comparison
from handgrad.runs import open_run
from handgrad.system.backend_setting import use_backend
from handgrad.training import DivergedError
from handgrad.training.loop import Reporter

Handgrad = Callable[..., Output]
SHAPE = {"block-size": 8, "n-layer": 1, "n-head": 2, "n-embd": 8, "batch-size": 4, "shards": 2}
OFTEN = {"max-steps": 6, "warmup-steps": 1, "eval-interval": 3, "checkpoint-interval": 2, "log-interval": 1}
SMALL = [f"--{name}={value}" for name, value in {**SHAPE, **OFTEN}.items()] + ["--tokenizer=char"]


def quickly(patch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, samples are short and pictures empty."""
    patch.setenv("HANDGRAD_BACKEND", "numpy")  # of other processes too
    use_backend("numpy")
    patch.setattr(measures, "SAMPLE_TOKENS", 30)
    patch.setattr("handgrad.plotting.bits.draw_bits", lambda *_: b"a picture")
    patch.setattr("handgrad.plotting.curves.draw_curves", lambda *_: b"a picture")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    quickly(monkeypatch)
    yield
    use_backend(None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text and two recipes."""
    root = tmp_path_factory.mktemp("files")
    (root / "text.txt").write_text(TEXT)
    (root / "plain.toml").write_text("")
    (root / "mine.toml").write_text("bias = true\nlr = 5e-5\n")
    return root


@pytest.fixture
def begin(handgrad: Handgrad, files: Path, tmp_path: Path) -> Callable[..., Output]:
    """Compares recipes in ``tmp_path / "out"``."""
    return lambda *flags: handgrad("compare", "--text", files / "text.txt", "--out", tmp_path / "out", *SMALL, *flags)


@pytest.fixture
def two(files: Path) -> tuple[object, ...]:
    return ("--recipes", files / "plain.toml", files / "mine.toml", "--seeds", 2, "--preset", "shakespeare-cpu")


def results(out: Path) -> dict[str, Any]:
    """The content of results.json without times."""
    content = json.loads((out / "results.json").read_text())
    for one in content["measures"]:
        assert one.pop("seconds") > 0
        assert one.pop("tokens_per_second") > 0
    for curve in content["curves"].values():
        curve.pop("seconds")
    return content


@pytest.fixture(scope="module")
def undisturbed(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of a comparison that is not interrupted."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    two = (
        *("--recipes", str(files / "plain.toml"), str(files / "mine.toml"), "--seeds", "2"),
        *("--preset", "shakespeare-cpu"),
    )
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch)
        assert main(["compare", "--text", str(files / "text.txt"), "--out", str(out), *SMALL, *two]) == 0
    return results(out)


def test_the_ladder_is_climbed_and_reported(
    handgrad: Handgrad, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    flags = [flag for flag in SMALL if not flag.startswith("--warmup-steps")]  # which the first rung sets
    done = handgrad("compare", "--text", files / "text.txt", "--out", out, *flags, "--recipes")
    assert done.code == 0, done.err
    for recipe in LADDER:
        assert re.search(rf"^{recipe.name}: 6 steps, 192 tokens, 192 characters; [\d,]+ parameters, ", done.out, re.M)
        assert re.search(rf"^{recipe.name} +[\d,]+ +6 +\d\.\d\d\d +\d\.\d\d\d +\d\.\d\d\d", done.out, re.M)
        assert open_run(out / "runs" / recipe.name).config.max_steps == 6
    assert f"table, samples and pictures: {out / 'results.md'}" in done.out
    assert all(recipe.says in (out / "results.md").read_text() for recipe in LADDER)
    assert done.out.count("\n  ") < 8  # the table's lines are not broken
    for name in ("train", "measure", "draw_panel"):
        monkeypatch.setattr(f"handgrad.cli.compare.{name}", pytest.fail)
    again = handgrad("compare", "--resume", out)
    assert (again.code, again.err) == (0, "")
    assert done.out.endswith(again.out)


def test_recipes_of_files_with_seeds(
    begin: Callable[..., Output], two: tuple[object, ...], tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    done = begin(*two)
    assert done.code == 0
    assert "warning: recipe mine: min_lr becomes 5e-06 instead of 0.0001: the default is above lr 5e-05" in done.err
    assert results(tmp_path / "out") == undisturbed
    names = ["plain-seed-1337", "plain-seed-1338", "mine-seed-1337", "mine-seed-1338"]
    assert [one["run"] for one in undisturbed["measures"]] == names
    assert re.search(r"^plain +\S+ +6 .*±", done.out, re.M)
    configs = [open_run(tmp_path / "out" / "runs" / name).config for name in names]
    assert [(config.bias, config.lr, config.seed) for config in configs] == [
        (False, 1e-3, 1337), (False, 1e-3, 1338), (True, 5e-5, 1337), (True, 5e-5, 1338),
    ]  # fmt: skip
    assert {config.min_lr for config in configs} == {1e-4, 5e-6}


@pytest.mark.parametrize("name", ["plain-seed-1338", "mine-seed-1338"])
def test_asked_to_stop_it_saves_and_goes_on_as_if_nothing_had_been(
    name: str, begin: Callable[..., Output], two: tuple[object, ...], handgrad: Handgrad, tmp_path: Path,
    undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def stepped(self: Reporter, metrics: Any) -> None:
        if metrics.step == 5 and self.run.path.name == name:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.progress.TrainingDisplay.stepped", stepped)
        stopped = begin(*two)
    assert stopped.code == 143
    assert stopped.out.endswith(f"stopped and saved; continue with: handgrad compare --resume {out}\n")
    done = handgrad("compare", "--resume", out)
    assert done.code == 0
    assert "resuming at step 5:" in done.out
    assert results(out) == undisturbed


def test_killed_it_goes_on(files: Path, two: tuple[object, ...], handgrad: Handgrad, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("compare", "--text", files / "text.txt", "--out", out, *SMALL, *two, "--budget", "plain=100000")
    metrics = out / "runs" / "plain-seed-1337" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and '"step": 20,' in metrics.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    content = json.loads((out / "comparison.json").read_text())
    assert [entry["steps"] for entry in content["entries"]] == [100_000, 100_000, 6, 6]
    assert open_comparison(out).run(open_comparison(out).entries[0]).config.max_steps == 100_000


def test_where_a_seed_diverges_the_rest_is_told(
    begin: Callable[..., Output], two: tuple[object, ...], handgrad: Handgrad, tmp_path: Path,
    undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from handgrad.training import train

    def diverges(run: Any, *arguments: Any, **options: Any) -> Any:
        if run.path.name == "plain-seed-1338":
            raise DivergedError("training diverged at step 3: the loss is nan; checkpoint step-2 is kept")
        return train(run, *arguments, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.compare.train", diverges)
        done = begin(*two)
    assert done.code == 1
    assert "not in the table, because training diverged: plain-seed-1338; the settings of a comparison" in done.err
    assert "Not in the table: plain-seed-1338. training diverged at step 3" in (out / "results.md").read_text()
    assert handgrad("compare", "--resume", out).code == 0
    assert results(out) == undisturbed


def test_a_flag_may_matter_to_one_recipe_alone(begin: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "plain.toml").touch()
    (tmp_path / "stepwise.toml").write_text('schedule = "step"\n')
    recipes = ("--recipes", tmp_path / "plain.toml", tmp_path / "stepwise.toml")
    assert begin(*recipes, "--step-size", 2, "--budget", "4steps").code == 0
    configs = [run.config for run in map(open_run, (tmp_path / "out" / "runs").iterdir())]
    assert {(config.step_size, config.max_steps) for config in configs} == {(2, 4)}


BAD: dict[str, tuple[list[str], str]] = {
    "missing": (["--recipes", "none.toml"], "none.toml: no such file"),
    "both": (["--recipes", "--tokenizers", "char"], "compare either --recipes or --tokenizers; all recipes have the"),
    "seeds alone": (["--seeds", "2"], "--seeds is for --recipes; tokenizers are compared with one seed, --seed"),
    "no seeds": (["--text", "long.txt", "--recipes", "--seeds", "0"], "there can be 1 to 100 seeds, not 0"),
    "length": (["--recipes", "long.toml"], "long.toml: max_steps is the same for all recipes"),
    "twice": (["--recipes", "a.toml", "a.toml"], "a.toml is the second recipe called 'a'"),
    "of all": (["--recipes", "a.toml", "--no-bias"], "recipe a sets bias, so that it cannot be given for all recipes"),
    "of all, in a file": (["--recipes", "a.toml", "--config", "a.toml"], "recipe a sets bias, so that it cannot be"),
    "of the ladder": (["--recipes", "--activation", "relu"], "recipe gpt2 sets activation, so that it cannot be given"),
    "useless": (["--recipes", "useless.toml"], "recipe useless: step_size has no effect with schedule trapezoid"),
    "useless for all": (["--recipes", "a.toml", "--step-size", "3"], "step_size has no effect with schedule trapezoid"),
    "unknown": (["--recipes", "unknown.toml"], "recipe unknown: unknown field 'layers'; choose from "),
    "budget of none": (["--recipes", "a.toml", "--budget", "b=5"], "is for 'b', which is not compared; choose from a"),
    "resume": (["--resume", ".", "--recipes"], "only --allow-inexact can be given with it"),
    "estimate": (
        ["--recipes", "--text", "long.txt", "--eval-batches", "3"],
        "eval_batches must be 0 to compare recipes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    case: str, handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.txt").write_text(TEXT)
    (tmp_path / "long.toml").write_text("max_steps = 3\n")
    (tmp_path / "a.toml").write_text("bias = false\n")
    (tmp_path / "useless.toml").write_text("step_size = 3\n")
    (tmp_path / "unknown.toml").write_text("layers = 3\n")
    before = sorted(tmp_path.rglob("*"))
    arguments, said = BAD[case]
    done = handgrad("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("handgrad: ")
    assert done.err.count("\n") == 1, done.err
    assert said in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_was_taken_away_is_trained_again(
    begin: Callable[..., Output], two: tuple[object, ...], handgrad: Handgrad, tmp_path: Path,
    undisturbed: dict[str, Any],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert begin(*two).code == 0
    shutil.rmtree(out / "runs" / "mine-seed-1337")
    (out / "results.json").unlink()
    assert handgrad("compare", "--resume", out).code == 0
    assert results(out) == undisturbed
