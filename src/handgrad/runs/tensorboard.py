"""Optional TensorBoard event files with the metrics."""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from handgrad.runs.config import TrainConfig
from handgrad.runs.metrics import Metrics
from handgrad.system.errors import InputError
from handgrad.system.files import check_is_no_link

_NAMES = {"loss": "loss/training", "val_loss": "loss/validation"}
"""Puts both losses into one panel; the others keep their names."""


def check_can_write_events(config: TrainConfig) -> None:
    """Raises InputError if event files are requested and tensorboardX is not installed."""
    if config.tensorboard and find_spec("tensorboardX") is None:
        raise InputError("tensorboard needs tensorboardX, which is not installed: pip install tensorboardX")


class EventFiles:
    """Appends metrics to a new file in ``directory``, which replaces the files of earlier sittings.

    ``rows`` are the earlier metrics that are kept. They are written again, so that nothing is doubled or missing,
    however the last sitting ended. If the file cannot be written, ``notice`` is called once, and training continues
    without it.
    """

    def __init__(self, directory: Path, rows: Iterable[Metrics], notice: Callable[[str], None]) -> None:
        check_is_no_link(directory)
        self.directory, self._notice = directory, notice
        self._writer: Any = None
        with self._or_without():
            # tensorboardX's SummaryWriter writes in its own thread, and waits forever once that thread has failed.
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            directory.mkdir(exist_ok=True)
            for earlier in directory.glob("events.out.tfevents.*"):
                earlier.unlink()
            self._writer = EventsWriter(str(directory / "events"))
            # After a START at step 0, TensorBoard forgets what it has read from the earlier files.
            self._writer.write_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
            for row in rows:
                self._write(row)
            self._writer.flush()

    def append(self, metrics: Metrics) -> None:
        with self._or_without():
            if self._writer is not None:
                self._write(metrics)
                self._writer.flush()

    def _write(self, metrics: Metrics) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in asdict(metrics).items():
            if name != "step" and value is not None:
                summary = scalar(_NAMES.get(name, name), float(value))
                self._writer.write_event(Event(wall_time=time.time(), step=metrics.step, summary=summary))

    @contextlib.contextmanager
    def _or_without(self) -> Any:
        try:
            yield
        except OSError as error:
            self._notice(f"training continues without TensorBoard: {self.directory}: {error.strerror or error}")
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError):
                if writer is not None:
                    writer.close()

    def close(self) -> None:
        with self._or_without():
            if self._writer is not None:
                self._writer.close()
