"""metrics.jsonl: what was measured, a line for each logged step."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import read_file, write_atomically


@dataclass(frozen=True)
class Metrics:
    """One line. ``step`` counts the steps made; at step 0 there is only an evaluation."""

    step: int
    loss: float | None
    """Nats per token over this step's batch, before its update."""
    val_loss: float | None
    """Nats per token over the validation split; None where it was not evaluated at this step."""
    bits_per_char: float | None
    """Of the validation text; None also where the tokenizer loses text, so that the figure means nothing."""
    lr: float | None
    grad_norm: float | None
    """Before clipping."""
    tokens: int
    """Trained on so far."""
    tokens_per_second: float | None
    """Since the last line, evaluations left out."""
    seconds: float
    """Spent so far, evaluations and earlier sittings counted."""
    skipped: int = 0
    """Steps so far at which the weights were left alone, as loss or gradient was not finite; such a step has none."""
    spike: bool = False
    """Whether the loss stands out above those of the steps before."""


_MOST_STEPS = 1 << 53


class MetricsLog:
    """Appends lines; after a resume, begins by dropping what the resumed run will write again, and what is damaged.

    ``after_step`` and ``logged``: the last step whose lines stay, and how many there were. ``notice`` is told of what
    was amiss; a damaged file is kept beside the mended one.

    Raises OSError where the file cannot be written, or is no longer there.
    """

    def __init__(
        self, path: Path, after_step: int = -1, logged: int = 0, notice: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self.path = path
        self.kept = self._mend(after_step, logged, notice)
        self._file = path.open("a", encoding="utf-8")

    def _mend(self, after_step: int, logged: int, notice: Callable[[str], None]) -> list[Metrics]:
        content = read_file(self.path) if self.path.exists() else b""
        rows, damaged = _rows(content)
        kept = [row for row in rows if row.step <= after_step]
        if damaged:
            aside = self.path.with_name(f"damaged-{self.path.name}")
            write_atomically(aside, content)
            notice(f"{self.path}: {_lines(damaged)}; the file as it was is kept as {aside.name}")
        if len(kept) != logged:
            notice(f"{self.path} has {len(kept):,} lines up to step {max(after_step, 0):,}, not the {logged:,} written")
        mended = "".join(json.dumps(asdict(row)) + "\n" for row in kept).encode()
        if mended != content:
            write_atomically(self.path, mended)
        return kept

    def append(self, metrics: Metrics) -> None:
        self._check_is_there()
        self._file.write(json.dumps(asdict(metrics), allow_nan=False) + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Waits until all lines are on the disk, as they must be before a checkpoint that counts them."""
        self._check_is_there()
        self._file.flush()
        os.fsync(self._file.fileno())

    def _check_is_there(self) -> None:
        """Lines added to a file that was removed would vanish without a word."""
        if not self.path.exists() or not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "it was removed or replaced while the run went on", str(self.path))

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl. A last line that was cut short, by a crash, is left out.

    Raises InputError where the file is missing, or another line is damaged.
    """
    rows, damaged = _rows(read_file(path))
    if damaged:
        raise InputError(f"{path}: {_lines(damaged)}")
    return [asdict(row) for row in rows]


def _rows(content: bytes) -> tuple[list[Metrics], list[int]]:
    """The whole lines, and the numbers of those that are damaged or do not come after the one before."""
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
