"""How long a step, an evaluation and a checkpoint of a run take on this machine, before the run is made."""

import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from handgrad.data import TokenData
from handgrad.models import LanguageModel, new_model
from handgrad.optim import Optimizer
from handgrad.runs.checkpoint import Progress, write_checkpoint
from handgrad.runs.config import TrainConfig
from handgrad.runs.length import Pace
from handgrad.system.processes import SINGLE, Processes
from handgrad.training.compile_first import compile_kernels_of
from handgrad.training.evaluation import evaluate, n_batches
from handgrad.training.replicas import cores_for
from handgrad.training.step import Stepper

Clock = Callable[[], float]
_UNTIMED_STEPS = 2
"""The first ones touch new memory."""
_FEWEST_TIMED_STEPS = 5
_SHORTEST, _LONGEST = 1.0, 10.0
"""Seconds in which steps are timed."""
_SHARE = 1 / 20
"""Of the length of the run: as long are steps timed."""
_EVALUATION_SECONDS = 1.0
"""An evaluation that takes longer is timed in part."""
_FEWEST_BATCHES = 16


def seconds_per_step(
    config: TrainConfig,
    data: TokenData,
    shards: int,
    length: float = 0.0,
    clock: Clock = time.perf_counter,
) -> float:
    """The mean time of a step, in seconds, with a model that is then dropped.

    Steps are timed for a twentieth of ``length``, the seconds that the run shall take, but for 1 second at least and
    for 10 at most. If the steps before exceed the whole length, no more are made.
    """
    with _stepping(config, data, shards) as (_, _, stepper):
        return _time_steps(config, stepper, length, clock)


def measure_pace(
    config: TrainConfig,
    data: TokenData,
    shards: int,
    directory: Path,
    length: float,
    write_sample: Callable[[LanguageModel], object] | None = None,
    clock: Clock = time.perf_counter,
    processes: Processes = SINGLE,
) -> Pace:
    """The pace of a run with these settings, measured with real steps of a model that is then dropped.

    ``directory``: where a checkpoint is written and removed, on the disk that will hold the run. ``length``: the
    seconds that the run shall take, as for ``seconds_per_step``. ``write_sample`` writes a text as training will, if
    ``sample_interval`` asks for it.

    ``processes``: if several train together, all call this at the same time. The clock of process 0 decides how much is
    timed, and only its result is the pace; it alone writes the checkpoint and the text.
    """
    with _stepping(config, data, shards, processes) as (model, optimizer, stepper):
        step = _time_steps(config, stepper, length, clock)
        evaluation = _time_evaluation(config, data, model, stepper, clock)
        begun = clock()
        state = stepper.state()
        if processes.is_first:
            shutil.rmtree(write_checkpoint(directory, "timed", model, optimizer, Progress(), state=state))
        checkpoint = clock() - begun
        sample = 0.0
        if config.sample_interval and write_sample is not None and processes.is_first:
            begun = clock()
            write_sample(model)
            sample = clock() - begun
        return Pace(step, evaluation, checkpoint, sample)


@contextmanager
def _stepping(
    config: TrainConfig, data: TokenData, shards: int, processes: Processes = SINGLE
) -> Iterator[tuple[LanguageModel, Optimizer, Stepper]]:
    """A new model that is trained as a run trains it."""
    model_config = config.model_config(data.tokenizer.vocab_size)
    compile_kernels_of(config, model_config)
    with cores_for(shards):
        model = new_model(model_config, seed=config.seed).train()
        optimizer = config.make_optimizer(model.decay_groups(config.weight_decay))
        average = config.make_average(model.arena.data)
        if average is not None:
            average.start()
        stepper = Stepper(config, shards, data, model, optimizer, lambda starts, length: None, average, processes)
        try:
            yield model, optimizer, stepper
        finally:
            stepper.close()


def _time_steps(config: TrainConfig, stepper: Stepper, length: float, clock: Clock) -> float:
    schedule = config.make_schedule()
    enough = min(max(length * _SHARE, _SHORTEST), _LONGEST)
    times: list[float] = []
    begun = clock()
    while True:
        before = clock()
        number = len(times)
        _, grad_norm, _ = stepper.gradient(number)
        if math.isfinite(grad_norm):
            stepper.update(schedule(number), grad_norm, number)
        now = clock()
        times.append(now - before)
        timed = times[_UNTIMED_STEPS:]
        is_enough = (len(timed) >= _FEWEST_TIMED_STEPS and sum(timed) >= enough) or 0 < length < now - begun
        if _says_first(stepper.processes, is_enough):
            return statistics.fmean(timed or times)


def _time_evaluation(
    config: TrainConfig, data: TokenData, model: LanguageModel, stepper: Stepper, clock: Clock
) -> float:
    """The time of a whole evaluation. A long one is computed in part: as many batches as fill a second."""
    end = data.end if config.boundaries == "respect" else None
    every = n_batches(data.validation, config.block_size, config.eval_batches, end)
    processes = stepper.processes
    evaluate(model, data.validation, stepper.team, processes.size, end, None, processes)  # touches new memory
    count = min(every, _FEWEST_BATCHES)
    while True:
        begun = clock()
        evaluate(model, data.validation, stepper.team, count, end, None, processes)
        taken = clock() - begun
        if _says_first(processes, count == every or taken >= _EVALUATION_SECONDS):
            return taken * every / count
        count = min(every, 4 * count)


def _says_first(processes: Processes, flag: bool) -> bool:
    """The flag of process 0, which all others follow."""
    return processes.agree(flag and processes.is_first)
