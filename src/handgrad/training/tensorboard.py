"""The metrics as TensorBoard's event files, where they are asked for."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from handgrad.errors import InputError
from handgrad.training.metrics import Metrics

_NAMES = {"loss": "loss/training", "val_loss": "loss/validation"}
"""So that both stand in one panel; the others keep their names."""


class EventFiles:
    """Appends metrics to a new file in ``directory``.

    Steps after ``after_step`` that an earlier sitting wrote are hidden by TensorBoard: they are written again.

    Raises InputError where tensorboardX is not installed.
    """

    def __init__(self, directory: Path, after_step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise InputError(
                "tensorboard needs tensorboardX, which is not installed: pip install tensorboardX"
            ) from None
        self._writer: Any = SummaryWriter(str(directory), purge_step=after_step + 1)

    def append(self, metrics: Metrics) -> None:
        for name, value in asdict(metrics).items():
            if name != "step" and value is not None:
                self._writer.add_scalar(_NAMES.get(name, name), value, metrics.step)

    def flush(self) -> None:
        """What was appended is in the file when a checkpoint counts it."""
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
