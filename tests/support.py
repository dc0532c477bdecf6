"""Shared by the tests, besides fixtures."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.autograd import Tensor
from handgrad.runs import TrainConfig

SHAKESPEARE = Path(__file__).parent.parent.parent / "shared" / "data" / "tinyshakespeare.txt"
TEXT = "the quick brown fox jumps over the lazy dog; the five boxing wizards jump quickly.\n" * 40

LET_OPEN_MPI = {
    **{f"{name}_ALLOW_RUN_AS_ROOT{suffix}": "1" for name in ("OMPI", "PRTE") for suffix in ("", "_CONFIRM")},
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""Environment variables with which Open MPI's mpiexec starts as root, and more processes than there are cores."""

TINY = TrainConfig(
    block_size=8,
    n_layer=2,
    n_head=2,
    n_embd=12,
    batch_size=5,
    max_steps=20,
    lr=1e-2,
    min_lr=1e-3,
    warmup_steps=3,
    eval_interval=5,
    checkpoint_interval=4,
    log_interval=2,
    shards=2,
)


def as_flags(**settings: object) -> list[str]:
    """The settings as flags of the command line: ``--max-steps 4`` for ``max_steps=4``."""
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


SMALLEST = as_flags(block_size=8, n_layer=1, n_embd=8, n_head=2)
"""A model that trains in an instant."""


@dataclass(frozen=True)
class Output:
    code: int
    out: str
    err: str


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def watch_dtypes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects, from now on, the dtypes of all arrays made for tensors and of all gradients that leaves receive."""
    seen: list[str] = []
    hold, accumulate = Tensor._hold, nn.Parameter.accumulate

    def watched_hold(self: Tensor, data: np.ndarray) -> None:
        seen.append(str(data.dtype))
        hold(self, data)

    def watched_accumulate(self: nn.Parameter, gradient: np.ndarray) -> None:
        seen.append(str(gradient.dtype))
        accumulate(self, gradient)

    monkeypatch.setattr(Tensor, "_hold", watched_hold)
    monkeypatch.setattr(nn.Parameter, "accumulate", watched_accumulate)
    return seen


def start(*arguments: object, limit: int | None = None) -> "subprocess.Popen[str]":
    """A command in a process of its own; ``limit``: the most bytes that a file it writes may have."""

    def limit_files() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    if limit is not None:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # else Python's .pyc files may be cut off too
    return subprocess.Popen(
        [sys.executable, "-m", "handgrad", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=None if limit is None else limit_files,
    )
