"""Two hundred steps of each small preset: the same bits in every layout of processes and threads, killed or not."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_table import Tally
from scenes import result, wait_for_step
from support import LET_OPEN_MPI, as_flags

from handgrad.runs import PRESETS
from handgrad.system.processor import has_bfloat16_products

pytestmark = pytest.mark.slow
STEPS, SHARDS = 200, 8
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"preset": name} for name in ("shakespeare-cpu", "modern-cpu", "quick", "explicit-char", "autograd-char")},
    "gpt2, made small": {
        "preset": "gpt2", "n_layer": 2, "n_embd": 48, "n_head": 3, "block_size": 48, "batch_size": 11,
        "warmup_steps": 10, "tokenizer": "bpe", "vocab_size": 300,
    },
}  # fmt: skip
LAYOUTS = ((1, 2), (2, 1), (4, 1), (3, 1))
"""Processes, and threads of each. They are compared with one thread."""
KILLED = ((2, 80), (3, 140))
"""Processes, and the step after which their launcher is killed."""
ENDED_BY = 4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_steps_in_every_layout(
    kind: str, precision: str, mpiexec: str, shakespeare: Path, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """With dropout, and with accumulation over as many windows as the preset has in a step."""
    if not torture:
        pytest.skip("takes many minutes: pytest --torture")
    if precision == "bfloat16" and not has_bfloat16_products():
        pytest.skip("bfloat16 takes too long on this processor")
    settings = {"batch_size": max(SHARDS, PRESETS[KINDS[kind]["preset"]].batch_size // 2), "grad_accum_steps": 2}
    flags = as_flags(
        **settings | KINDS[kind], shards=SHARDS, precision=precision, dropout=0.1, max_steps=STEPS, log_interval=20,
        eval_interval=100, eval_batches=2, checkpoint_interval=50, sample_interval=0, keep=9,
    )  # fmt: skip

    def start(processes: int, threads: int, out: Path) -> "subprocess.Popen[str]":
        begins = not (out / "config.json").exists()
        what = ["--text", shakespeare, "--out", out, *flags] if begins else ["--resume", out]
        launcher = [mpiexec, "-n", processes] if processes > 1 else []
        command = [*launcher, sys.executable, "-m", "handgrad", "train", *what, "--replicas", threads]
        return subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **LET_OPEN_MPI, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        )

    def train(processes: int, threads: int, out: Path) -> dict[str, Any]:
        printed, errors = (process := start(processes, threads, out)).communicate(timeout=3600)
        assert process.returncode == 0, (printed, errors)
        return result(out)

    alone = train(1, 1, tmp_path / "alone")
    assert alone["metrics"][-1]["step"] == STEPS
    for processes, threads in LAYOUTS:
        assert train(processes, threads, tmp_path / f"{processes}x{threads}") == alone, (processes, threads)
    out = tmp_path / "killed"
    for processes, step in KILLED:
        process = start(processes, 1, out)
        wait_for_step(process, out, step, seconds=1800)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert train(ENDED_BY, 1, out) == alone
    tally(
        f"{STEPS} steps of small models on two threads, and in 2, 3 and 4 processes",
        len(LAYOUTS),
        "weights, moments, best score and metrics are bit for bit those of one thread",
    )
    tally(
        f"{STEPS} steps begun in 2 processes, continued in 3 and ended in 4, with SIGKILL of the launcher in between",
        1,
        "weights, moments, best score and metrics are bit for bit those of one thread",
    )
