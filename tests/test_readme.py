"""The code that the README shows is the code that runs, and its commands and tables name what is there."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handgrad.cli.main import COMMANDS
from handgrad.data import DATASETS
from handgrad.ops import softmax, softmax_backward
from handgrad.runs import PRESETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNNING = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_derivative_shown_is_the_one_that_runs() -> None:
    assert PYTHON[0] == f"{inspect.getsource(softmax)}\n\n{inspect.getsource(softmax_backward)}"


def test_it_is_read_in_a_minute_and_the_promise_and_a_picture_come_first() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines[2].startswith("**A GPT in NumPy")
    assert lines[4].startswith("![")
    headings = ["Two commands", "One derivative", "Three proofs", "Learn how it works", "Use it", "More"]
    assert re.findall(r"^## (.*)$", README, re.M) == headings


@pytest.mark.slow
def test_the_library_example_runs_and_learns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PYTHON[1]], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    loss = re.fullmatch(r"loss (\d\.\d+): she [a-z .]{40}\n", done.stdout)
    assert loss is not None, done.stdout
    assert float(loss[1]) < 0.5


def test_every_command_text_and_preset_is_in_a_table() -> None:
    for command in COMMANDS:
        assert f"| `handgrad {command}" in RUNNING
    for name in DATASETS:
        assert f"| `{name}`" in RUNNING
    for name, config in PRESETS.items():
        shape = f"{config.n_layer}, {config.n_head}, {config.n_embd}, {config.block_size}"
        batch = config.batch_size * config.grad_accum_steps
        steps = f"{config.max_steps:,} steps of {batch} × {config.block_size} "
        assert re.search(rf"\| `{name}`[^|]*\| {shape}[^|]*\| {steps}", RUNNING), name
    assert f"vocabulary of {PRESETS['quick'].vocab_size:,}" in RUNNING


def test_what_train_is_said_to_print_is_what_it_prints() -> None:
    """The sizes and losses depend on the machine; the sentences do not."""
    shown = README.split("```text\n")[1].split("```")[0]
    for sentence in (
        r"^training [\d,]+ parameters on [\d,]+ characters of dataset functions, vocabulary of 2,048 tokens, ",
        r"^validation loss to beat: \d\.\d{4} by a uniform guess, \d\.\d{4} by a bigram model$",
        rf"^step {PRESETS['quick'].max_steps:,}: training loss \d\.\d{{4}}, validation loss \d\.\d{{4}} nats ",
        r"^best checkpoint step-\d{8}, validation loss \d\.\d{4}; it writes:$",
        r"^curves: runs/quick-1/curves.png$",
        r"^more:   \.venv/bin/handgrad sample runs/quick-1$",
    ):
        assert re.search(sentence, shown, re.M), sentence


@pytest.mark.parametrize("target", ["train", "test", "test-all", "parity", "check", "docs"])
def test_every_make_target_named_is_there(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"])
def test_links_and_pictures_are_there(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert link.startswith("http") or ((ROOT / page).parent / link).exists(), link
