"""metrics.jsonl: what was measured, a line for each logged step."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.errors import InputError
from handgrad.files import write_atomically


@dataclass(frozen=True)
class Metrics:
    """One line. ``step`` counts the updates made; at step 0 there is only an evaluation."""

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


class MetricsLog:
    """Appends lines; after a resume, begins by dropping the lines that the resumed run will write again."""

    def __init__(self, path: Path, after_step: int | None = None) -> None:
        self.path = path
        if after_step is not None:
            kept = [line for line in read_metrics(path) if line["step"] <= after_step]
            write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")

    def append(self, metrics: Metrics) -> None:
        self._file.write(json.dumps(asdict(metrics)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Waits until all lines are on the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl. A last line that was cut short, by a crash, is left out.

    Raises InputError where the file is missing, or another line is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    lines = content.split(b"\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            row["step"] + 0
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError(f"{path}: line {number} is damaged") from None
        rows.append(row)
    return rows
