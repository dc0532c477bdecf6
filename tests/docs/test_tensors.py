"""What docs/tensors.md shows runs, and gives what it says."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad import Tensor, nn

ROOT = Path(__file__).parent.parent.parent
TENSORS = (ROOT / "docs" / "tensors.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^|]+)` \| `([^|]+)` \|", TENSORS, flags=re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.*?)```", TENSORS, flags=re.DOTALL)


def plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def slope(function: Callable[[Tensor], Tensor], at: list[float]) -> list[float]:
    x = handgrad.tensor(at, requires_grad=True)
    function(x).backward()
    assert x.grad is not None
    return x.grad.tolist()


@pytest.mark.parametrize(("expression", "result"), ROWS, ids=[expression for expression, _ in ROWS])
def test_the_table_of_differences_holds(expression: str, result: str) -> None:
    names: dict[str, Any] = {
        "handgrad": handgrad,
        "nn": nn,
        "np": np,
        "slope": slope,
        "shares_memory": lambda a, b: np.shares_memory(a.data, b.data),
        "leaf": handgrad.ones(2, requires_grad=True),
    }
    names["leaf"].sum().backward()
    exec(BLOCKS[2], names)
    found, expected = plain(eval(expression, names)), plain(eval(result, names))
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_the_table_is_all_read() -> None:
    table = TENSORS.split("|---|---|---|---|\n")[1].split("\n\n")[0]
    assert len(ROWS) == len(table.splitlines()) > 30


@pytest.mark.slow
def test_the_examples_run() -> None:
    for block, said in (
        (BLOCKS[0], r"loss 0\.0\d\d\n"),
        (BLOCKS[1], r"loss 0\.0\d, a guess has 1\.61\n"),
        (BLOCKS[3], r"\['0.scale', '0.inner.weight', .*\n"),
    ):
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(said, done.stdout), done.stdout


def test_links_are_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", TENSORS):
        assert link.startswith("http") or (ROOT / "docs" / link).exists(), link
