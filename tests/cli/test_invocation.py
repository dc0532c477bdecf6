"""The commands that we suggest work in the shell that called us."""

import os
import sys
from pathlib import Path

import pytest

from handgrad.cli.invocation import command


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A console script in a virtual environment below the current directory."""
    program = tmp_path / "my project" / ".venv" / "bin" / "handgrad"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("absolute", [True, False])
def test_a_program_that_is_not_on_the_path_is_named_by_its_path_from_here(
    installed: Path, absolute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(installed.parents[2])
    monkeypatch.setattr(sys, "argv", [str(installed) if absolute else ".venv/bin/handgrad", "train"])
    assert command("sample", Path("runs/quick 1")) == ".venv/bin/handgrad sample 'runs/quick 1'"


def test_from_another_directory_it_is_named_by_its_whole_path(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "my project" / ".venv")
    monkeypatch.setattr(sys, "argv", [str(installed)])
    assert command("check") == "bin/handgrad check"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert command("check") == f"'{installed}' check"


def test_a_program_on_the_path_is_named_alone(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed.parent) + os.pathsep + os.environ["PATH"])
    monkeypatch.setattr(sys, "argv", [str(installed)])
    assert command("train", "--resume", "a'b") == """handgrad train --resume 'a'"'"'b'"""


def test_python_dash_m_is_named_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "handgrad" / "__main__.py")])
    monkeypatch.setenv("PATH", "")
    assert command("check") == f"{sys.executable} -m handgrad check"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command("check") == f"{Path(sys.executable).name} -m handgrad check"


@pytest.mark.parametrize("program", ["/usr/bin/pytest", "/usr/lib/python3/pytest/__main__.py", "", "-c"])
def test_in_another_program_it_is_the_plain_name(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert command("check") == "handgrad check"
