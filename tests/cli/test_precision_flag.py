"""--precision of train, eval and compare: what is stored, what is refused, what auto chooses and what is said."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import SMALLEST, Output, as_flags

from handgrad.cli import precision_flag
from handgrad.runs import open_run
from handgrad.system.backend_setting import use_backend

Handgrad = Callable[..., Output]

SLOW = "precision bfloat16 is slower than float32 here"


@pytest.fixture(autouse=True)
def _numpy() -> Iterator[None]:
    use_backend("numpy")
    yield
    use_backend(None)


def machine(monkeypatch: pytest.MonkeyPatch, backend: str, *, is_fast: bool) -> None:
    """Lets the flag see another machine than this one."""
    monkeypatch.setattr(precision_flag, "current_backend", lambda: backend)
    monkeypatch.setattr(precision_flag, "why_bfloat16_is_slow", lambda: None if is_fast else "of a test")


@pytest.fixture
def flags(text_file: Path, tmp_path: Path) -> list[Any]:
    return ["train", "--text", text_file, *SMALLEST, *as_flags(tokenizer="char", max_steps=2, out=tmp_path / "run")]


@pytest.fixture
def run(flags: list[Any], handgrad: Handgrad, tmp_path: Path) -> Path:
    assert handgrad(*flags, "--precision", "bfloat16").code == 0
    return tmp_path / "run"


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["val_loss"] for line in lines if json.loads(line)["val_loss"] is not None]


def test_the_flag_is_a_setting_of_the_run(run: Path, flags: list[Any], handgrad: Handgrad, tmp_path: Path) -> None:
    assert open_run(run).config.precision == "bfloat16"
    assert open_run(run).model("last")[0].config.precision == "bfloat16"
    flags[flags.index(str(tmp_path / "run"))] = tmp_path / "plain"
    assert handgrad(*flags).code == 0
    assert open_run(tmp_path / "plain").config.precision == "float32"
    assert losses(run) != losses(tmp_path / "plain")
    assert losses(run) == pytest.approx(losses(tmp_path / "plain"), abs=0.02)


def test_a_run_without_the_field_is_of_float32(run: Path) -> None:
    path = run / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for part in content.values():
        if isinstance(part, dict):
            part.pop("precision", None)
    path.write_text(json.dumps(content), encoding="utf-8")
    assert open_run(run).config.precision == "float32"


def test_a_resume_keeps_it_and_refuses_another(run: Path, handgrad: Handgrad) -> None:
    before = (run / "config.json").read_bytes()
    refused = handgrad("train", "--resume", run, "--max-steps", 4, "--precision", "float32")
    assert refused.code == 2
    assert "precision bfloat16 → float32" in refused.err
    assert f"--init-from {run}" in refused.err
    assert refused.err.count("\n") == 1
    assert (run / "config.json").read_bytes() == before
    assert handgrad("train", "--resume", run, "--max-steps", 4).code == 0
    assert open_run(run).config.precision == "bfloat16"


def test_a_run_from_other_weights_may_choose(run: Path, text_file: Path, handgrad: Handgrad, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        made = handgrad(
            "train", "--text", text_file, "--init-from", run, *as_flags(max_steps=1, out=out, precision=precision)
        )
        assert made.code == 0, made.err
        assert open_run(out).config.precision == precision


@pytest.mark.parametrize("spelled", [["--precision", "auto"], ["--precision=auto"]])
@pytest.mark.parametrize(
    ("backend", "is_fast", "chosen"),
    [("numba", True, "bfloat16"), ("numba", False, "float32"), ("numpy", True, "float32"), ("numpy", False, "float32")],
)
def test_auto_chooses_what_suits_the_machine(
    spelled: list[str],
    backend: str,
    is_fast: bool,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[Any],
    handgrad: Handgrad,
    tmp_path: Path,
) -> None:
    machine(monkeypatch, backend, is_fast=is_fast)
    done = handgrad(*flags, *spelled)
    assert done.code == 0, done.err
    assert open_run(tmp_path / "run").config.precision == chosen
    assert '"auto"' not in (tmp_path / "run" / "config.json").read_text(encoding="utf-8")
    assert SLOW not in done.err


def test_auto_is_for_this_flag_alone(flags: list[Any], handgrad: Handgrad, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('precision = "auto"\n', encoding="utf-8")
    refused = handgrad(*flags, "--config", file)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "precision must be float32 or bfloat16, not auto" in refused.err
    refused = handgrad(*flags, "--norm", "auto")
    assert refused.code == 2
    assert "--norm must be one of" in refused.err


@pytest.mark.parametrize(
    ("backend", "is_fast", "why"),
    [("numba", False, "of a test"), ("numpy", True, "the backend is numpy")],
)
def test_bfloat16_where_it_is_slow_is_said_in_one_sentence(
    backend: str, is_fast: bool, why: str, monkeypatch: pytest.MonkeyPatch, flags: list[Any], handgrad: Handgrad
) -> None:
    machine(monkeypatch, backend, is_fast=is_fast)
    done = handgrad(*flags, "--precision", "bfloat16")
    said = [line for line in done.err.splitlines() if SLOW in line]
    assert len(said) == 1
    assert why in said[0]
    assert SLOW not in done.out


def test_nothing_is_said_where_it_is_fast_or_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, flags: list[Any], handgrad: Handgrad, tmp_path: Path
) -> None:
    machine(monkeypatch, "numba", is_fast=True)
    assert SLOW not in handgrad(*flags, "--precision", "bfloat16").err
    machine(monkeypatch, "numpy", is_fast=False)
    flags[flags.index(str(tmp_path / "run"))] = tmp_path / "other"
    assert SLOW not in handgrad(*flags).err


def test_eval_measures_in_the_precision_of_the_run_or_another(run: Path, handgrad: Handgrad) -> None:
    own, same, other = (
        handgrad("eval", run, "--checkpoint", "last", *more)
        for more in ([], ["--precision", "bfloat16"], ["--precision", "float32"])
    )
    assert own.out == same.out
    assert "precision   bfloat16\n" in own.out
    assert "precision   float32\n" in other.out
    refused = handgrad("eval", run, "--precision", "half")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--precision must be one of" in refused.err


def test_samples_are_those_of_float32(run: Path, handgrad: Handgrad) -> None:
    sampled = handgrad("sample", run, "--tokens", 30, "--checkpoint", "last", "--logprobs")
    assert sampled.code == 0
    path = run / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"bfloat16"', '"float32"'), encoding="utf-8")
    assert open_run(run).config.precision == "float32"
    assert handgrad("sample", run, "--tokens", 30, "--checkpoint", "last", "--logprobs").out == sampled.out


def test_a_comparison_takes_it_too(
    text_file: Path, handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, "numba", is_fast=True)
    settings = as_flags(tokenizers="char", max_steps=1, out=tmp_path / "both", precision="auto")
    done = handgrad("compare", "--text", text_file, *SMALLEST, *settings)
    assert done.code == 0, done.err
    assert open_run(tmp_path / "both" / "runs" / "char").config.precision == "bfloat16"


def test_the_help_names_both_and_auto(handgrad: Handgrad) -> None:
    for command in ("train", "compare"):
        shown = " ".join(handgrad(command, "--help").out.split())
        assert "--precision float32|bfloat16" in shown
        assert "auto takes bfloat16 if this processor multiplies it faster" in shown
