"""The code that the README shows is the code that runs."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handgrad import nn
from handgrad.cli.main import COMMANDS
from handgrad.ops import softmax
from handgrad.runs import PRESETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_derivative_shown_is_the_one_that_runs() -> None:
    assert PYTHON[0] == Path(inspect.getsourcefile(softmax) or "").read_text(encoding="utf-8")


def test_the_layer_shown_is_the_one_that_runs() -> None:
    block = nn.TransformerBlock
    shown = inspect.getsource(block.forward) + "\n" + inspect.getsource(block.backward)
    assert PYTHON[1] == "class TransformerBlock(Module):\n    ...\n\n" + shown


@pytest.mark.slow
def test_the_library_example_runs_and_learns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PYTHON[3]], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    loss = re.fullmatch(r"loss (\d\.\d+): she [a-z .]{40}\n", done.stdout)
    assert loss is not None, done.stdout
    assert float(loss[1]) < 0.5


@pytest.mark.slow
def test_the_tensor_example_runs_and_learns() -> None:
    done = subprocess.run([sys.executable, "-c", PYTHON[2]], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    loss = re.fullmatch(r"loss (\d\.\d+), a guess has 1\.61\n", done.stdout)
    assert loss is not None, done.stdout
    assert float(loss[1]) < 0.1


def test_the_tokenizer_example_prints_what_is_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", PYTHON[4]], capture_output=True, cwd=tmp_path, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    shown = README.split(PYTHON[4])[1].split("```text\n")[1].split("```")[0]
    assert done.stdout.decode().splitlines() == shown.splitlines()


def test_every_command_and_every_preset_is_in_a_table() -> None:
    for command in COMMANDS:
        assert f"| `handgrad {command}" in README
    for name, config in PRESETS.items():
        assert f"| `{name}`" in README
        shape = f"{config.n_layer}, {config.n_head}, {config.n_embd}, {config.block_size}"
        assert re.search(rf"\| `{name}`[^|]*\| {shape}.*\| {config.max_steps:,} steps", README), name


@pytest.mark.parametrize("target", ["train", "test", "test-all", "parity", "lint"])
def test_every_make_target_named_is_there(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_links_and_pictures_are_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
