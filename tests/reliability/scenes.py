"""Runs that are disturbed, and what must hold for them afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from support import read_lines

from handgrad.models.formats.model_in_checkpoint import MODEL, OPTIMIZER, read_state
from handgrad.runs import find_checkpoint, open_run
from handgrad.runs.checkpoint import read_progress
from handgrad.runs.retention import checkpoints_of, read_pointer

T = TypeVar("T")

HERE = Path(__file__).parent
TIMED = ("seconds", "tokens_per_second")
_SMALL = (
    "--block-size 8 --n-layer 1 --n-head 2 --n-embd 8 --batch-size 4 --lr 0.01 --warmup-steps 2 "
    "--eval-interval 10 --checkpoint-interval 7 --log-interval 3"
)
# Exact resuming must hold for any shards, accumulation, dropout, optimizers, backends and numbers of checkpoints.
KINDS = {
    "one shard": "--shards 1 --keep 1",
    "two shards": "--shards 2 --optimizer adamw --weight-decay 0.1 --grad-clip 1 --sampling random",
    "dropout, accumulation, three shards": "--shards 3 --dropout 0.2 --grad-accum-steps 2 --keep 3",
    "compiled, sgd": "--optimizer sgd --shards 2 --keep 1",
    "muon, averaged weights": "--ema 0.9 --cautious --weight-decay 0.1 --shards 2",
}


@dataclass(frozen=True)
class Scene:
    """One kind of run, on one text, with a number of steps."""

    kind: str
    steps: int
    text: Path

    def command(self, out: Path) -> list[str]:
        """What a user types to start the run or, if it exists, to resume it."""
        if (out / "config.json").exists():
            return ["train", "--resume", str(out)]
        flags = [*_SMALL.split(), *KINDS[self.kind].split(), "--max-steps", str(self.steps)]
        return ["train", "--text", str(self.text), "--out", str(out), *flags]

    def start(
        self, out: Path, *, launcher: tuple[object, ...] = (), before: tuple[object, ...] = (), **options: Any
    ) -> "subprocess.Popen[str]":
        """Starts the command in a new process. ``before`` replaces ``-m handgrad``, ``launcher`` precedes Python."""
        program = [str(part) for part in before] or ["-m", "handgrad"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE.parents[1] / "src"),
            "HANDGRAD_BACKEND": "numba" if "compiled" in self.kind else "numpy",  # starts faster
            "PYTHONDONTWRITEBYTECODE": "1",
            "MPLCONFIGDIR": str(self.text.parent / "matplotlib"),
            **options.pop("env", {}),
        }
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        launched = [*map(str, launcher), sys.executable, *program, *self.command(out)]
        return subprocess.Popen(launched, env=environment, **options)

    def sabotage(self, out: Path, fault: str, number: int) -> "subprocess.Popen[str]":
        return self.start(out, before=(HERE / "saboteur.py", fault, number, out))

    def finish(self, out: Path, **options: Any) -> None:
        """Starts or resumes the run and waits for its end."""
        printed, errors = (process := self.start(out, **options)).communicate(timeout=120)
        assert process.returncode == 0, (printed, errors)


def result(out: Path) -> dict[str, Any]:
    """Everything that a run produced, but times. Equal for two runs that are the same bit for bit."""
    last, best = find_checkpoint(out, "last"), find_checkpoint(out, "best")
    return {
        "weights": (last / MODEL).read_bytes(),
        "moments": (last / OPTIMIZER).read_bytes(),
        "best": (best / MODEL).read_bytes(),
        "progress": _untimed(vars(read_progress(last))),
        "metrics": [_untimed(row) for row in read_lines(out / "metrics.jsonl")],
    }


def _untimed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TIMED}


def check_nothing_is_broken(out: Path) -> None:
    """Checks what must hold on the disk at every instant."""
    for pointer in ("last", "best"):
        name = read_pointer(out, pointer)
        assert name is None or name in checkpoints_of(out), f"{pointer} names {name}, which is not there"
    for name in checkpoints_of(out):
        read_state(out / "checkpoints" / name)
    if (out / "config.json").exists():
        open_run(out).tokenizer()
        open_run(out).data()
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps))


def check_nothing_is_left(out: Path) -> None:
    """Checks a finished run: no temporary file, no checkpoint too many, a free lock."""
    left = [path for path in out.rglob("*") if path.name.startswith(".") or path.name.startswith("damaged-")]
    assert left == []
    assert len(checkpoints_of(out)) <= open_run(out).config.keep + 1
    assert (out / "lock").read_bytes() == b""


def check_goes_on(one: Scene, out: Path, expected: dict[str, Any], **options: Any) -> None:
    """Checks after a disturbance that all files are intact, and that the resumed run ends like an undisturbed one."""
    check_nothing_is_broken(out)
    one.finish(out, **options)
    assert result(out) == expected
    check_nothing_is_left(out)


def wait_for_step(
    process: "subprocess.Popen[str]", out: Path, step: int, terminal: int | None = None, seconds: float = 60
) -> None:
    """Waits until the step has been logged. Reads what the terminal shows meanwhile."""
    deadline, metrics = time.monotonic() + seconds, out / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step}' in metrics.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        if terminal is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(terminal, 1 << 16)
        time.sleep(0.01)


def was_killed(process: "subprocess.Popen[str]") -> bool:
    return process.returncode == -signal.SIGKILL


def two_at_a_time(function: Callable[[int], T], numbers: Iterable[int]) -> list[T]:
    """Calls the function from two threads, as most of a process's time is its start."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, numbers))
