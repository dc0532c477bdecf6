"""The training loop."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

from handgrad.data import BlockChecksums, TokenData
from handgrad.models import LanguageModel
from handgrad.models.formats.model_in_checkpoint import read_pointer
from handgrad.runs.checkpoint import Progress
from handgrad.runs.directory import Run
from handgrad.runs.metrics import Metrics, MetricsLog, WaitingLog
from handgrad.runs.resuming import was_cut_off
from handgrad.runs.retention import checkpoints_of, clear_leftovers, prune, save_checkpoint, set_pointer, step_of
from handgrad.runs.tensorboard import EventFiles, check_can_write_events
from handgrad.system.files import read_file
from handgrad.system.locks import locked
from handgrad.system.processes import SINGLE, Processes
from handgrad.training.evaluation import bits_per_character, evaluate, tokens_used
from handgrad.training.replicas import cores_for
from handgrad.training.stability import first_weight, record_loss
from handgrad.training.starting import Trained, begin_or_continue, check_same_everywhere, in_all
from handgrad.training.step import Stepper

_MOST_SKIPPED = 50
"""Steps in a row. If more are skipped, the weights are at fault, not a batch."""


class DivergedError(ArithmeticError):
    """The loss or the gradient is no longer a finite number."""


class Reporter:
    """Receives training events; the base class ignores them. The command line's subclass shows them.

    If the run averages its weights, the model has the averaged ones in ``evaluated``, and in ``stepped`` after each
    ``sample_interval`` steps; otherwise it has those of training.
    """

    def started(self, model: LanguageModel, data: TokenData, progress: Progress) -> None: ...

    def stepped(self, metrics: Metrics) -> None: ...

    def evaluated(self, metrics: Metrics, model: LanguageModel) -> None: ...

    def waited(self, seconds: Sequence[float]) -> None:
        """Several processes train: the seconds that each waited for the gradients of others, since the last call."""

    def noticed(self, sentence: str) -> None:
        """A problem that training has dealt with: a damaged checkpoint, a skipped step, a spike of the loss."""


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    progress: Progress
    finished: bool
    """False if ``should_stop`` ended training before the last step."""
    val_loss: float | None
    """Loss of the last evaluation; None if there was none in this sitting."""


def train(
    run: Run,
    data: TokenData,
    *,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = SINGLE,
) -> Outcome:
    """Trains until max_steps, from the last checkpoint if the run has one, else from its initial weights.

    ``should_stop`` is called before each step: if it returns True, a checkpoint is written and training ends. Weights
    after n steps depend on the configuration, the data, and what ``Environment`` names. They do not depend on timing,
    or on how often, when or how the run was interrupted, or on the number of processes.

    ``processes``: those that train together. Each calls this with the same run. Process 0 alone writes files and
    reports. If ``should_stop`` returns True in one of them, all end after the same step.

    Raises DivergedError before the weights change if loss or gradient is not finite, or if too many such steps in a row
    were skipped. Raises InputError if another process trains this run, if the run would not continue bit for bit, or if
    none of its checkpoints is intact. Raises OSError if files cannot be written.
    """
    reporter = reporter or Reporter()
    check_can_write_events(run.config)
    if not processes.is_first:
        reporter = Reporter()
    with ExitStack() as stack:
        checksums: list[tuple[BlockChecksums, BlockChecksums]] = []

        def begin() -> Trained:
            stale = stack.enter_context(locked(run.path, "trained"))
            if stale is not None:
                reporter.noticed(was_cut_off(run, stale))
            clear_leftovers(run.path)
            checksums.append(data.check_content())
            if run.metrics_path.exists():
                read_file(run.metrics_path)  # raises before a checkpoint or a pointer is repaired
            return begin_or_continue(run, reporter.noticed)

        stack.enter_context(cores_for(run.shards))
        trained = in_all(run, processes, begin)
        if not processes.is_first:
            checksums.append(data.check_content())
        check_same_everywhere(run, checksums[0], processes)
        if processes.size > run.shards:
            reporter.noticed(
                f"the run has {run.shards:,} {'shard' if run.shards == 1 else 'shards'}, so that "
                f"{processes.size - run.shards:,} of {processes.size:,} processes compute no gradients; they only take "
                "part in sums and updates"
            )
        trainer = _Trainer(run, data, checksums[0], trained, reporter, processes)
        stack.callback(trainer.close)
        return trainer.run_until(should_stop)


class _Trainer:
    def __init__(
        self,
        run: Run,
        data: TokenData,
        checksums: tuple[BlockChecksums, BlockChecksums],
        trained: Trained,
        reporter: Reporter,
        processes: Processes,
    ) -> None:
        self.run, self.config, self.data, self.reporter = run, run.config, data, reporter
        self.processes = processes
        self.model, self.optimizer, self.average, self.progress = model, optimizer, average, progress = trained
        self.log: MetricsLog | None = None
        self.events: EventFiles | None = None
        self.waiting: WaitingLog | None = None
        if processes.is_first:
            if processes.size > 1:
                self.waiting = WaitingLog(run.path / "processes.jsonl")
            # At step 0 no lines are kept, as the evaluation there is repeated.
            self.log = MetricsLog(run.metrics_path, progress.step or -1, progress.logged, reporter.noticed)
            if self.config.tensorboard:
                self.events = EventFiles(run.path / "tensorboard", self.log.kept, reporter.noticed)
        self.sound_step = progress.step - 1
        """The newest step whose weights gave a finite loss. Loaded weights have not given one yet."""
        self.saved_step = progress.step
        train_checksums, self.validation_checksums = checksums
        checks = train_checksums.check_windows
        self.stepper = Stepper(run.config, run.shards, data, model, optimizer, checks, average, processes)
        self.begun = time.perf_counter() - progress.seconds
        self.measured_from = (time.perf_counter(), progress.tokens)
        self.val_loss: float | None = None

    def run_until(self, should_stop: Callable[[], bool]) -> Outcome:
        config, progress = self.config, self.progress
        schedule = config.make_schedule()
        self.model.train()
        self.reporter.started(self.model, self.data, progress)
        if progress.step == 0:
            self._evaluate(Metrics(0, None, None, None, None, None, 0, None, 0.0))
        if self.processes.size > 1:
            self.processes.ending = self.processes.agree(should_stop())
        while progress.step < config.max_steps and not self._is_ending(should_stop):
            metrics = self._make_step(schedule(progress.step))
            with self._averaged_for_samples():
                self.reporter.stepped(metrics)
            improved = False
            if self._is_due(config.eval_interval):
                improved = self._evaluate(metrics)
            elif self._is_due(config.log_interval) or metrics.spike or metrics.loss is None:
                self._log(metrics)
            if improved or (self._is_due(config.checkpoint_interval) and not progress.skipped_in_a_row):
                self._save(improved)
            if self._is_due(config.eval_interval) or self._is_due(config.log_interval):
                self.measured_from = (time.perf_counter(), progress.tokens)
        if self.saved_step != progress.step:
            self._save(best=False)
        elif progress.step >= config.max_steps:  # its weights gave a finite loss
            self._prune()  # which an earlier read error may have kept from removing all
        return Outcome(progress, progress.step >= config.max_steps, self.val_loss)

    def _is_ending(self, should_stop: Callable[[], bool]) -> bool:
        """Whether training ends before the next step. Of several processes each tells its wish with the gradients of
        the next step, and all end after that.
        """
        processes = self.processes
        if processes.size == 1:
            return should_stop()
        processes.asked = processes.asked or should_stop()
        return processes.ending

    def _make_step(self, lr: float) -> Metrics:
        """One update of the weights. If loss or gradient is not finite, the step is skipped or training stops."""
        progress = self.progress
        loss, grad_norm, n_tokens = self.stepper.gradient(progress.step)
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        spike = finite and record_loss(loss, progress)
        if finite:
            self.stepper.update(lr, grad_norm, progress.step - progress.skipped)
            progress.skipped_in_a_row = 0
            self._is_sound(progress.step)
        else:
            self._stop_or_skip(self.stepper.why_not_finite(progress.step, loss, grad_norm))
        progress.step += 1
        progress.tokens += n_tokens
        now = time.perf_counter()
        progress.seconds = now - self.begun
        since, tokens_then = self.measured_from
        rate = (progress.tokens - tokens_then) / (now - since)
        if spike:
            self.reporter.noticed(f"step {progress.step}: the loss jumped to {loss:.4f}, far above the steps before")
        return Metrics(
            step=progress.step,
            loss=loss if finite else None,
            val_loss=None,
            bits_per_char=None,
            lr=lr,
            grad_norm=grad_norm if finite else None,
            tokens=progress.tokens,
            tokens_per_second=round(rate, 1),
            seconds=round(progress.seconds, 3),
            skipped=progress.skipped,
            spike=spike,
        )

    def _stop_or_skip(self, what: str) -> None:
        """Counts the step as skipped because of ``what``. Raises DivergedError if training must stop instead."""
        progress, step = self.progress, self.progress.step + 1
        progress.skipped_in_a_row += 1
        if self.config.on_nan == "stop":
            raise DivergedError(self._diverged(what, step))
        if progress.skipped_in_a_row > _MOST_SKIPPED:
            raise DivergedError(self._diverged(f"{_MOST_SKIPPED} steps in a row were skipped, and {what}", step))
        progress.skipped += 1
        self.reporter.noticed(f"step {step} is skipped: {what}")

    def _is_due(self, interval: int) -> bool:
        return self.progress.step % interval == 0 or self.progress.step == self.config.max_steps

    def _log(self, metrics: Metrics) -> None:
        if self.log is not None:
            self.log.append(metrics)
        self.progress.logged += 1
        if self.waiting is not None:
            self.reporter.waited(self.waiting.append(metrics.step, self.processes.waited_by_all))
        if self.events is not None:
            self.events.append(metrics)

    def close(self) -> None:
        self.stepper.close()
        if self.log is not None:
            self.log.close()
        if self.events is not None:
            self.events.close()

    def _averaged(self) -> AbstractContextManager[None]:
        """A context in which the model has the averaged weights, if the run averages them."""
        return nullcontext() if self.average is None else self.average.exchanged()

    def _averaged_for_samples(self) -> AbstractContextManager[None]:
        """The same, if the step that was made is one after which a sample is shown."""
        interval = self.config.sample_interval
        return self._averaged() if interval and self.progress.step % interval == 0 else nullcontext()

    def _evaluate(self, metrics: Metrics) -> bool:
        """Evaluates and logs. Returns whether the validation loss is the best so far."""
        with self._averaged():
            return self._evaluate_present_weights(metrics)

    def _evaluate_present_weights(self, metrics: Metrics) -> bool:
        progress = self.progress
        end = self.data.end if self.config.boundaries == "respect" else None
        batches, team, processes = self.config.eval_batches, self.stepper.team, self.processes
        val_loss = evaluate(self.model, self.data.validation, team, batches, end, None, processes)
        validation = self.data.validation
        # Documents that are kept apart fill no window exactly: any of them may have been used.
        used = len(validation) if end is not None else tokens_used(self.model, validation, self.config.eval_batches)
        self.validation_checksums.check_beginning(used)
        if not math.isfinite(val_loss):
            raise DivergedError(self._diverged(f"the validation loss is {val_loss}", progress.step))
        self.val_loss = val_loss
        if self.average is None or progress.step >= self.config.max_steps:
            self._is_sound(progress.step)  # of the weights that training goes on from, if it goes on
        bits = bits_per_character(val_loss, self.data.targets_per_character(self.config.boundaries))
        progress.seconds = time.perf_counter() - self.begun
        metrics = replace(metrics, val_loss=val_loss, bits_per_char=bits, seconds=round(progress.seconds, 3))
        self._log(metrics)
        self.reporter.evaluated(metrics, self.model)
        if progress.step == 0 or (progress.best_val_loss is not None and val_loss >= progress.best_val_loss):
            return False
        progress.best_val_loss, progress.best_step = val_loss, progress.step
        return True

    def _save(self, best: bool) -> None:
        weight = first_weight(self.model)
        if weight is not None:
            raise DivergedError(self._diverged(f"{weight} contains NaN or infinity", self.progress.step))
        state = self.stepper.state()
        if self.log is not None:
            self.log.flush()
            name = save_checkpoint(self.run.path, self.model, self.optimizer, self.progress, self.average, state)
            if best:
                set_pointer(self.run.path, "best", name)
        self.saved_step = self.progress.step
        if self.sound_step >= self.saved_step:
            self._prune()

    def _prune(self) -> None:
        if self.processes.is_first:
            prune(self.run.path, self.config.keep)

    def _is_sound(self, step: int) -> None:
        """Notes that the weights of this step gave a finite loss, which lets older checkpoints be removed."""
        if self.sound_step < self.saved_step <= step:
            self._prune()
        self.sound_step = step

    def _diverged(self, what: str, step: int) -> str:
        """The message. If the last checkpoint's weights gave no finite loss, ``last`` goes back to one that did."""
        last = read_pointer(self.run.path, "last")
        if self.processes.is_first and last is not None and step_of(last) > self.sound_step:
            sound = (name for name in checkpoints_of(self.run.path) if step_of(name) <= self.sound_step)
            if (before := next(sound, None)) is not None:
                set_pointer(self.run.path, "last", before)
                last = before
        return f"training diverged at step {step}: {what}; checkpoint {last} is kept; try a smaller lr or grad_clip"
