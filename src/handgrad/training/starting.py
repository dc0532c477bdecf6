"""What training starts from: new weights, another model's weights, or the run's last intact checkpoint."""

import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from handgrad.data import BlockChecksums
from handgrad.models import LanguageModel, new_model
from handgrad.models.formats.model_in_checkpoint import check_size, damaged_by, read_pointer, read_state
from handgrad.optim import Optimizer, WeightAverage
from handgrad.runs.checkpoint import Progress, load_checkpoint, load_weights
from handgrad.runs.directory import Run
from handgrad.runs.resuming import check_is_exact, check_is_not_lost
from handgrad.runs.retention import checkpoints_of, load_intact, save_checkpoint, set_aside, set_pointer, step_of
from handgrad.system.errors import DamagedError
from handgrad.system.processes import Processes


class Trained(NamedTuple):
    """What training moves from step to step."""

    model: LanguageModel
    optimizer: Optimizer
    average: WeightAverage | None
    """The averaged weights; None if the run has no ``ema``."""
    progress: Progress


def begin_or_continue(run: Run, notice: Callable[[str], None]) -> Trained:
    """The model, its optimizer, its averaged weights and their progress. Reports damaged checkpoints to ``notice`` and
    sets them aside.

    Raises InputError if no checkpoint is intact, or if the run would not continue bit for bit in this process.
    """
    if not checkpoints_of(run.path):
        check_is_not_lost(run)
        new = _new(run)
        if run.init_from is not None:
            read_state(run.init_from)
            load_weights(run.init_from, new.model)
        if new.average is not None:
            new.average.start()
        save_checkpoint(run.path, new.model, new.optimizer, new.progress, new.average)
        return new
    check_is_exact(run)
    damaged = []

    def load(checkpoint: Path) -> Trained:
        try:
            state = read_state(checkpoint)
            check_size(checkpoint, run.model_config)
            model, optimizer, average, _ = _new(run)
            progress = load_checkpoint(checkpoint, state, model, optimizer, average)
            return Trained(model, optimizer, average, progress)
        except OSError as error:
            damaged.append(checkpoint.name)
            raise damaged_by(error, checkpoint) from None
        except DamagedError:
            damaged.append(checkpoint.name)
            raise

    found, checkpoint = load_intact(run.path, "last", load, notice)
    for name in damaged:
        set_aside(run.path, name)
    if read_pointer(run.path, "last") != checkpoint.name:
        set_pointer(run.path, "last", checkpoint.name)
    _point_at_the_best(run.path, found.progress, notice)
    return found


def _point_at_the_best(run: Path, progress: Progress, notice: Callable[[str], None]) -> None:
    """Repairs ``best`` from the step of the best loss if it was lost or the run ended before it was written."""
    if progress.best_step is None:
        return
    name = next((name for name in checkpoints_of(run) if step_of(name) == progress.best_step), None)
    if name is not None:
        try:
            read_state(run / "checkpoints" / name)
        except DamagedError as error:
            notice(str(error))
            set_aside(run, name)
            name = None
    if name is None:
        notice(f"the best checkpoint of {run}, from step {progress.best_step}, is missing")
    elif read_pointer(run, "best") != name:
        set_pointer(run, "best", name)


def in_all(run: Run, processes: Processes, begin: Callable[[], Trained]) -> Trained:
    """What process 0 begins or continues with, in all processes; the optimizer's state is in process 0 alone.

    Only process 0 reads checkpoints, so that it alone decides which one is intact.
    """
    begun: list[Trained] = []

    def begin_here() -> Progress:
        begun.append(begin())
        return begun[0].progress

    progress = processes.from_first(begin_here)
    if processes.size == 1:
        return begun[0]
    model, optimizer, average, _ = begun[0] if begun else _new(run)
    processes.copy_of_first(model.arena.data)
    if average is not None:
        processes.copy_of_first(average.values)
    return Trained(model, optimizer, average, progress)


def check_same_everywhere(run: Run, checksums: Iterable[BlockChecksums], processes: Processes) -> None:
    """Refuses to train if processes would compute with other tokens or libraries than process 0."""
    if processes.size == 1:
        return
    here = (tuple(each.of_all for each in checksums), run.differences_here(), socket.gethostname())
    (tokens, differences, _), *others = processes.gathered(here)
    for rank, (other_tokens, other_differences, host) in enumerate(others, start=1):
        if other_tokens != tokens:
            processes.refuse(
                f"process {rank} on {host} reads other tokens in {run.data_directory} than process 0: all processes "
                "need the same files there"
            )
        if different := [each for each in other_differences if each not in differences]:
            processes.refuse(
                f"process {rank} on {host} would compute other bits than the run, because {'; '.join(different)}: all "
                "processes need the same libraries and the same kind of processor"
            )


def _new(run: Run) -> Trained:
    model = new_model(run.model_config, seed=run.config.seed)
    optimizer = run.config.make_optimizer(model.decay_groups(run.config.weight_decay))
    return Trained(model, optimizer, run.config.make_average(model.arena.data), Progress())
