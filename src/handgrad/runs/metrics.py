"""metrics.jsonl: the measurements of a run, one line per logged step."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import check_is_no_link, naming, read_file, write_atomically


@dataclass(frozen=True)
class Metrics:
    """One line. ``step`` counts the steps so far; at step 0 there is only an evaluation."""

    step: int
    loss: float | None
    """Nats per token over this step's batch, before its update."""
    val_loss: float | None
    """Nats per token over the validation split; None if this step was not evaluated."""
    bits_per_char: float | None
    """The same in bits per character; None also if the tokenizer loses text, as the figure would mean nothing."""
    lr: float | None
    grad_norm: float | None
    """Norm of the gradient before clipping."""
    tokens: int
    """Tokens trained on so far."""
    tokens_per_second: float | None
    """Speed since the last line, without evaluations."""
    seconds: float
    """Time spent so far, with evaluations and earlier sittings."""
    skipped: int = 0
    """Steps skipped so far because the loss or gradient was not finite. The line of such a step has None for both."""
    spike: bool = False
    """Whether the loss is far above those of the steps before."""


_MOST_STEPS = 1 << 53


class MetricsLog:
    """Appends lines. After a resume it first drops the lines that the run will write again, and damaged ones.

    ``after_step`` is the last step whose lines are kept, ``logged`` how many lines there should be up to it. ``notice``
    receives a sentence about each problem. A damaged file is kept beside the repaired one.

    Raises OSError if the file cannot be written or was removed, InputError if it is a link.
    """

    def __init__(
        self, path: Path, after_step: int = -1, logged: int = 0, notice: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self.path = path
        check_is_no_link(path)
        self.kept = self._mend(after_step, logged, notice)
        self._file = path.open("a", encoding="utf-8")

    def _mend(self, after_step: int, logged: int, notice: Callable[[str], None]) -> list[Metrics]:
        content = read_file(self.path) if self.path.exists() else b""
        rows, damaged = _rows(content)
        kept = [row for row in rows if row.step <= after_step]
        if damaged:
            aside = self.path.with_name(f"damaged-{self.path.name}")
            write_atomically(aside, content)
            notice(f"{self.path}: {_lines(damaged)}; the damaged file is kept as {aside.name}")
        if len(kept) != logged:
            lines = f"{len(kept):,} {'line' if len(kept) == 1 else 'lines'}"
            notice(f"{self.path} has {lines} up to step {max(after_step, 0):,} instead of {logged:,}")
        mended = "".join(json.dumps(asdict(row)) + "\n" for row in kept).encode()
        if mended != content:
            write_atomically(self.path, mended)
        return kept

    def append(self, metrics: Metrics) -> None:
        self._check_is_there()
        with naming(self.path):
            self._file.write(json.dumps(asdict(metrics), allow_nan=False) + "\n")
            self._file.flush()

    def flush(self) -> None:
        """Waits until all lines are on the disk: they must be there before a checkpoint counts them."""
        self._check_is_there()
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def _check_is_there(self) -> None:
        """Lines written to a removed file would be lost without notice."""
        if not self.path.exists() or not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "it was removed or replaced during training", str(self.path))

    def close(self) -> None:
        with naming(self.path):
            self._file.close()


class WaitingLog:
    """Appends to processes.jsonl how long each process waited for the others. No command reads it.

    Raises InputError if it is a link, OSError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_is_no_link(path)
        self._before: list[float] = []

    def append(self, step: int, waited: list[float]) -> list[float]:
        """Adds a line; ``waited`` are the seconds so far of each process. Returns those since the last line."""
        before = self._before or [0.0] * len(waited)
        since = [round(now - then, 3) for now, then in zip(waited, before, strict=True)]
        self._before = waited
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "waited_seconds": since}) + "\n")
        return since


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a last line that a crash cut short.

    Raises InputError if the file is missing or another line is damaged.
    """
    rows, damaged = _rows(read_file(path))
    if damaged:
        raise InputError(f"{path}: {_lines(damaged)}")
    return [asdict(row) for row in rows]


def _rows(content: bytes) -> tuple[list[Metrics], list[int]]:
    """The intact lines, and the numbers of those that are damaged or out of order."""
    rows: list[Metrics] = []
    damaged = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            row = dataclass_from_json(Metrics, json.loads(line))
            if not (rows[-1].step if rows else -1) < row.step < _MOST_STEPS:
                raise ValueError("its step does not come after the one before")
        except (ValueError, RecursionError):
            damaged.append(number)
        else:
            rows.append(row)
    return rows, damaged


def _lines(damaged: list[int]) -> str:
    return f"line {damaged[0]} is damaged" + (f", and {len(damaged) - 1:,} more" if len(damaged) > 1 else "")
