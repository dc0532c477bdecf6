"""Sizes that no machine has, texts that never end, models that give NaN, two trainings at once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import SMALLEST, Output, as_flags
from test_faults import shell, spoil

from handgrad.cli.train import Source
from handgrad.models import new_model
from handgrad.runs import Run, TrainConfig, next_free, preset, taking_next_free
from handgrad.system import files
from handgrad.system.errors import InputError
from handgrad.system.files import read_json, read_text
from handgrad.training import check_fits_memory, slow_first_step, train

Handgrad = Callable[..., Output]
NewRun = Callable[..., Run]
SHAKESPEARE = preset("shakespeare-cpu")


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "nan"), (3e38, "nan")])
def test_eval_of_a_model_that_has_diverged_fails(handgrad: Handgrad, new_run: NewRun, value: float, shown: str) -> None:
    run = new_run(max_steps=2, n_layer=1)
    train(run, run.data())
    assert handgrad("eval", run.path).code == 0
    spoil(run.path, value)
    done = handgrad("eval", run.path)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert f" is {shown}: its training diverged" in done.err or " is inf: its training diverged" in done.err


def test_no_line_of_source_stands_beside_a_sentence(new_run: NewRun) -> None:
    """In a process of its own, whose warnings pytest does not catch."""
    run = new_run(max_steps=2, n_layer=1)
    train(run, run.data())
    spoil(run.path, 3e38)
    for command in ("sample", "eval"):
        done = shell(f"HANDGRAD {command} '{run.path}'")
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("handgrad: the ")


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layer": 10**6, "n_embd": 4, "n_head": 1},
        {"batch_size": 10**6},
        {"grad_accum_steps": 10**6},
        {"grad_accum_steps": 10**9, "n_layer": 1, "n_embd": 1, "n_head": 1, "block_size": 8, "batch_size": 1},
        {
            "shards": 4000,
            "replicas": 4000,
            "batch_size": 4000,
            "n_layer": 1000,
            "n_embd": 1,
            "n_head": 1,
            "block_size": 1,
        },
    ],
)
def test_sizes_that_no_array_shows_are_refused(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.training import memory_estimate

    monkeypatch.setattr(memory_estimate, "physical_memory", lambda: 10 << 30)
    config = replace(SHAKESPEARE, **changes)
    with pytest.raises(InputError, match=r"takes at least [\d,.]+ GiB of memory, and this machine has 10.0") as caught:
        check_fits_memory(config, config.model_config(65), config.shards or 2)
    assert ("grad_accum_steps smaller" in str(caught.value)) == (config.grad_accum_steps > 1)
    monkeypatch.setattr(memory_estimate, "physical_memory", lambda: None)
    check_fits_memory(config, config.model_config(65), 2)


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adam", "sgd"])
def test_the_moments_and_the_average_are_counted(
    optimizer: Any, tie_weights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many numbers as the optimizer keeps after a step; the averaged weights are as many again."""
    from handgrad.training import memory_estimate

    config = replace(SHAKESPEARE, optimizer=optimizer, n_layer=2, n_embd=16, n_head=2, tie_weights=tie_weights)
    shape = config.model_config(31)
    model = new_model(shape)
    made = config.make_optimizer(model.decay_groups(0.1))
    model.arena.grad[...] = 1
    made.step()
    kept = sum(
        array.size for state in made.state_dict()["state"].values() for name, array in state.items() if name != "step"
    )
    assert memory_estimate._moments(config, shape) == kept
    assert shape.n_in_matrices == sum(p.size for p in model.parameters_by_role()["matrix"])

    def needed(config: TrainConfig) -> float:
        monkeypatch.setattr(memory_estimate, "physical_memory", lambda: 0)
        with pytest.raises(InputError) as caught:
            check_fits_memory(config, config.model_config(50257), 2)
        return float(str(caught.value).partition("at least ")[2].partition(" ")[0].replace(",", ""))

    large = replace(config, n_embd=4096)
    gib = large.model_config(50257).n_parameters * 4 / 2**30
    assert needed(replace(large, ema=0.9)) == pytest.approx(needed(large) + gib, abs=0.11)


def test_a_first_step_that_takes_long_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.training import time_estimate

    monkeypatch.setattr(time_estimate, "available_cores", lambda: 2)
    for name in ("quick", "shakespeare-cpu", "modern-cpu", "modern", "explicit-char", "autograd-char"):
        assert slow_first_step(preset(name), preset(name).model_config(100), 2) is None
    many = replace(SHAKESPEARE, grad_accum_steps=100_000)
    flops = sum(each.flops for each in many.model_config(65).products(12, 64)) * 100_000
    assert slow_first_step(many, many.model_config(65), 2) == (
        f"a step runs 4 layers on 1,200,000 windows ({flops:.1e} floating-point operations): the first may take "
        f"{(flops / 1e11 + 12 * 5e-4 + 4e5 * 5e-4) / 60:,.0f} minutes"
    )
    deep = replace(SHAKESPEARE, n_layer=10**6, n_embd=4, n_head=1)
    assert "the first may take" in str(slow_first_step(deep, deep.model_config(65), 2))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
@pytest.mark.parametrize("command", ["train", "prepare", "compare", "eval"])
def test_a_text_that_never_ends(handgrad: Handgrad, new_run: NewRun, command: str, tmp_path: Path) -> None:
    where = (new_run().path,) if command == "eval" else ("--out", tmp_path / "out")
    done = handgrad(command, *where, "--text", "/dev/zero")
    assert (done.code, done.err) == (
        2,
        "handgrad: /dev/zero is neither a file nor a pipe; a text file is needed\n",
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_standard_input_that_never_ends(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run().path
    for command in (f"prepare - --out '{tmp_path / 'out'}'", f"tokenize '{run}'"):
        done = shell(f"HANDGRAD {command} < /dev/zero")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "standard input is a device, which may never end" in done.stderr
    assert shell(f"HANDGRAD tokenize '{run}' < /dev/null").returncode == 0
    assert shell(f"echo the fox | HANDGRAD tokenize '{run}' --ids").stdout.count(" ") == 7


def test_a_pipe_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "physical_memory", lambda: 8000)
    path = tmp_path / "text.txt"
    path.write_text("x" * 1000)
    assert len(read_text(path)) == 1000
    path.write_text("x" * 1001)
    with pytest.raises(InputError, match=r"has more than 1,000 bytes, too many .*; handgrad prepare turns"):
        read_text(path)


def test_json_files_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)  # a sparse file: it takes no space
    with pytest.raises(InputError, match=r"tokenizer.json has 67,108,865 bytes; it can have 67,108,864 at most"):
        read_json(path)


def test_the_next_number_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.runs import directory

    asked = iter(["quick-1", "quick-1", "quick-2"])
    monkeypatch.setattr(directory, "next_free", lambda parent, stem: parent / next(asked))
    with taking_next_free(tmp_path / "runs", "quick") as first, taking_next_free(tmp_path / "runs", "quick") as second:
        assert (first.name, second.name) == ("quick-1", "quick-2")
    monkeypatch.undo()
    (tmp_path / "runs" / "quick-3").symlink_to(tmp_path / "nowhere")
    assert next_free(tmp_path / "runs", "quick").name == "quick-4"
    with pytest.raises(InputError, match="no"), taking_next_free(tmp_path / "runs", "quick"):
        raise InputError("no")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["quick-1", "quick-2", "quick-3"]


@pytest.mark.slow
def test_two_trainings_without_out_at_once(text_file: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "HANDGRAD_BACKEND": "numpy"}
    small = [*SMALLEST, *as_flags(max_steps=4, warmup_steps=0)]
    command = [sys.executable, "-m", "handgrad", "train", "--text", str(text_file), *small]
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["quick-1", "quick-2", "quick-3"]
    for path in (tmp_path / "runs").iterdir():
        assert json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 4


def test_the_default_place_is_free_again_after_a_refusal(
    handgrad: Handgrad, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("handgrad.cli.train.create_run", lambda *_: (_ for _ in ()).throw(InputError("no")))
    assert Source().out is None
    small = [*SMALLEST, *as_flags(tokenizer="char")]
    assert handgrad("train", "--text", text_file, *small).code == 2
    assert not (tmp_path / "runs").exists()
