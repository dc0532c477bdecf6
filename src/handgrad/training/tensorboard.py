"""The metrics as TensorBoard's event files, where they are asked for."""

from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from handgrad.errors import InputError
from handgrad.training.config import TrainConfig
from handgrad.training.metrics import Metrics

_NAMES = {"loss": "loss/training", "val_loss": "loss/validation"}
"""So that both stand in one panel; the others keep their names."""
_SECONDS = 10
"""Until what was appended is in the file, for TensorBoard to show."""


def check_can_write_events(config: TrainConfig) -> None:
    """Raises InputError where they are asked for and tensorboardX is not installed."""
    if config.tensorboard and find_spec("tensorboardX") is None:
        raise InputError("tensorboard needs tensorboardX, which is not installed: pip install tensorboardX")


class EventFiles:
    """Appends metrics to a new file in ``directory``, which takes the place of those of earlier sittings.

    ``rows``: what they hold that stays. It is written once more, so that nothing is doubled and nothing is missing,
    however a sitting ended.
    """

    def __init__(self, directory: Path, rows: Iterable[Metrics]) -> None:
        from tensorboardX import SummaryWriter

        for earlier in directory.glob("events.out.tfevents.*"):
            earlier.unlink()
        # Step 0 has TensorBoard forget what it has read of the earlier files.
        self._writer: Any = SummaryWriter(str(directory), purge_step=0, flush_secs=_SECONDS)
        for row in rows:
            self.append(row)

    def append(self, metrics: Metrics) -> None:
        for name, value in asdict(metrics).items():
            if name != "step" and value is not None:
                self._writer.add_scalar(_NAMES.get(name, name), value, metrics.step)

    def close(self) -> None:
        self._writer.close()
