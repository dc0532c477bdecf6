"""What a type checker makes of a user's program: functions give tensors, and tensors have operators and methods."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from typing import assert_type

import handgrad
from handgrad import Tensor, nn, ops
from handgrad.autograd import functions

x = handgrad.tensor([1.0, 2.0], requires_grad=True)
assert_type(handgrad.exp(x).sum() + 1, Tensor)
assert_type(handgrad.abs(x), Tensor)
assert_type(functions.abs(x), Tensor)
assert_type(2 * x + 1, Tensor)
assert_type(nn.Parameter([1.0]) * x, Tensor)
assert_type(x.T, Tensor)
assert_type(x[0], Tensor)
assert_type({x: 1}[x], int)
ops.softmax_backward(*ops.softmax(x.data))
x.exp("no argument")  # wrong
x.no_such_method()  # wrong
"""


@pytest.mark.slow
def test_a_users_program_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    wrong = [number for number, line in enumerate(PROGRAM.splitlines(), start=1) if line.endswith("# wrong")]
    reported = [line for line in done.stdout.splitlines() if line.startswith("program.py:")]
    assert [int(line.split(":")[1]) for line in reported if ": error:" in line] == wrong, done.stdout
