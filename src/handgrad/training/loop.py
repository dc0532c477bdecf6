"""The training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from handgrad.data import TokenData, random_batch
from handgrad.data.batches import Batch
from handgrad.models import GPT
from handgrad.optim import Optimizer
from handgrad.training.checkpoint import (
    Progress,
    find_checkpoint,
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    point,
    read_pointer,
    save_checkpoint,
)
from handgrad.training.evaluation import bits_per_character, evaluate
from handgrad.training.metrics import Metrics, MetricsLog
from handgrad.training.replicas import Replicas, cores_for
from handgrad.training.run_directory import Run

# What a run's random numbers are for; with the seed and the step they give each use a generator of its own, so that
# a resumed run draws what it would have drawn.
_BATCHES, _DROPOUT = 1, 2


class DivergedError(ArithmeticError):
    """The loss or the gradient is no longer a finite number."""


class Reporter:
    """Is told what happens; does nothing. The command line's shows it."""

    def started(self, model: GPT, data: TokenData, progress: Progress) -> None: ...

    def stepped(self, metrics: Metrics) -> None: ...

    def evaluated(self, metrics: Metrics, model: GPT) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    progress: Progress
    finished: bool
    """False where it was asked to stop before the last step."""
    val_loss: float | None
    """The last evaluation's; None where there was none in this sitting."""


def train(
    run: Run,
    data: TokenData,
    *,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains until max_steps: from the last checkpoint where the run has one, else from its first weights.

    ``should_stop`` is asked before each step: where it says yes, a checkpoint is written and training ends. Weights
    after n steps depend on the configuration, the data, the number of replicas, the backend and the libraries, not on
    timing or on how often the run was interrupted.

    Raises DivergedError where loss or gradient are not finite, before the weights are touched.
    """
    model = GPT(run.model_config, seed=run.config.seed)
    optimizer = run.config.make_optimizer(model.decay_groups(run.config.weight_decay))
    progress = _begin_or_continue(run, model, optimizer)
    with cores_for(run.replicas):
        trainer = _Trainer(run, data, model, optimizer, progress, reporter or Reporter())
        try:
            return trainer.run_until(should_stop)
        finally:
            trainer.close()


def _begin_or_continue(run: Run, model: GPT, optimizer: Optimizer) -> Progress:
    last = read_pointer(run.path, "last") or newest_checkpoint(run.path)
    if last is None:
        if run.init_from is not None:
            load_weights(run.init_from, model)
        save_checkpoint(run.path, model, optimizer, Progress())
        return Progress()
    progress = load_checkpoint(find_checkpoint(run.path, last), model, optimizer)
    if progress.best_step == progress.step:
        point(run.path, "best", last)  # in case the run ended between the two pointers
    return progress


class _Trainer:
    def __init__(
        self, run: Run, data: TokenData, model: GPT, optimizer: Optimizer, progress: Progress, reporter: Reporter
    ) -> None:
        self.run, self.config, self.data, self.model, self.optimizer = run, run.config, data, model, optimizer
        self.progress, self.reporter = progress, reporter
        self.log = MetricsLog(run.metrics_path, after_step=progress.step or -1)
        self.replicas = Replicas(model, run.replicas)
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
        saved_step = progress.step
        while progress.step < config.max_steps and not should_stop():
            metrics = self._step(schedule(progress.step))
            self.reporter.stepped(metrics)
            improved = False
            if self._is_due(config.eval_interval):
                improved = self._evaluate(metrics)
            elif self._is_due(config.log_interval):
                self.log.append(metrics)
            if improved or self._is_due(config.checkpoint_interval):
                self._save(improved)
                saved_step = progress.step
            if self._is_due(config.eval_interval) or self._is_due(config.log_interval):
                self.measured_from = (time.perf_counter(), progress.tokens)
        if saved_step != progress.step:
            self._save(best=False)
        return Outcome(progress, progress.step >= config.max_steps, self.val_loss)

    def _step(self, lr: float) -> Metrics:
        """One update of the weights."""
        config, progress = self.config, self.progress
        batches = self._batches(progress.step)
        loss, grad_norm = self.replicas.loss_and_gradients(batches, (config.seed, _DROPOUT, progress.step))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            what = f"the gradient's norm is {grad_norm}" if math.isfinite(loss) else f"the loss is {loss}"
            raise DivergedError(self._diverged(what, progress.step + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.replicas.update(self.optimizer, grad_norm, config.grad_clip)
        progress.step += 1
        progress.tokens += sum(y.size for _, y in batches)
        now = time.perf_counter()
        progress.seconds = now - self.begun
        since, tokens_then = self.measured_from
        rate = (progress.tokens - tokens_then) / (now - since)
        return Metrics(
            step=progress.step,
            loss=loss,
            val_loss=None,
            bits_per_char=None,
            lr=lr,
            grad_norm=grad_norm,
            tokens=progress.tokens,
            tokens_per_second=round(rate, 1),
            seconds=round(progress.seconds, 3),
        )

    def _is_due(self, interval: int) -> bool:
        return self.progress.step % interval == 0 or self.progress.step == self.config.max_steps

    def close(self) -> None:
        self.replicas.close()
        self.log.close()

    def _batches(self, step: int) -> list[Batch]:
        config = self.config
        rng = np.random.default_rng([config.seed, _BATCHES, step])
        return [
            random_batch(self.data.train, config.batch_size, config.block_size, rng)
            for _ in range(config.grad_accum_steps)
        ]

    def _evaluate(self, metrics: Metrics) -> bool:
        """Evaluates, logs, and says whether the validation loss is the best so far."""
        progress = self.progress
        val_loss = evaluate(self.model, self.data.validation, self.replicas.team, self.config.eval_batches)
        if not math.isfinite(val_loss):
            raise DivergedError(self._diverged(f"the validation loss is {val_loss}", progress.step))
        self.val_loss = val_loss
        bits = bits_per_character(val_loss, self.data.tokens_per_character)
        progress.seconds = time.perf_counter() - self.begun
        metrics = replace(metrics, val_loss=val_loss, bits_per_char=bits, seconds=round(progress.seconds, 3))
        self.log.append(metrics)
        self.reporter.evaluated(metrics, self.model)
        if progress.step == 0 or (progress.best_val_loss is not None and val_loss >= progress.best_val_loss):
            return False
        progress.best_val_loss, progress.best_step = val_loss, progress.step
        return True

    def _save(self, best: bool) -> None:
        if not np.isfinite(self.model.arena.data).all():
            raise DivergedError(self._diverged("a weight is not a finite number", self.progress.step))
        name = save_checkpoint(self.run.path, self.model, self.optimizer, self.progress)
        if best:
            point(self.run.path, "best", name)

    def _diverged(self, what: str, step: int) -> str:
        last = read_pointer(self.run.path, "last")
        return f"training diverged at step {step}: {what}; checkpoint {last} stays; try a smaller lr or grad_clip"
