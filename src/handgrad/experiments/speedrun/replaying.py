"""Replaying a rung: its runs, their time to the target, their loss, and the hash of their weights."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handgrad import ops
from handgrad.autograd import no_grad
from handgrad.data import Corpus, TokenData, sequential_batches
from handgrad.data.corpora import SHAKESPEARE_SHA256
from handgrad.experiments.budget import Budget
from handgrad.experiments.comparison import encoded_with, shards_for
from handgrad.experiments.speedrun.records import Record
from handgrad.experiments.speedrun.rungs import Rung
from handgrad.experiments.speedrun.stopwatch import Evaluated, Stopwatch
from handgrad.experiments.speedrun.tracks import Track
from handgrad.models import LanguageModel
from handgrad.runs import Run, TrainConfig, create_run
from handgrad.runs.environment import Environment
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.processor import available_cores, processor_name
from handgrad.system.threads import Team
from handgrad.tokenizers import make_tokenizer
from handgrad.training import Reporter, train
from handgrad.training.evaluation import windows_per_batch
from handgrad.training.replicas import cores_for

_BETWEEN_MEMBERS = 1000
"""Distance of the seeds of a rung's models, so that those of neighbouring seeds differ."""


class Replayed(NamedTuple):
    """What came of a rung with one seed."""

    config: TrainConfig
    evaluations: tuple[Evaluated, ...]
    """Those of the run. If several models are averaged, one for each model, of the average so far."""
    reached: Evaluated | None
    """The first evaluation at or below the target; without a target, the last. None if the target was not reached."""
    sha256: str

    @property
    def loss(self) -> float:
        """After the last step."""
        return self.evaluations[-1].loss

    @property
    def record(self) -> Record:
        """What a file of the ladder keeps."""
        last = self.reached or self.evaluations[-1]
        rounded = [(each.step, round(each.seconds, 2), round(each.loss, 4)) for each in self.evaluations]
        steps, seconds, losses = zip(*rounded, strict=True)
        return Record(
            seed=self.config.seed,
            precision=self.config.precision,
            loss=round(self.loss, 4),
            seconds=None if self.reached is None else round(self.reached.seconds, 2),
            evaluating=round(last.evaluating, 2),
            sha256=self.sha256,
            processor=processor_name(),
            cores=available_cores(),
            libraries=libraries_here(self.config),
            steps=steps,
            training_seconds=seconds,
            losses=losses,
        )


def replay(
    track: Track,
    rung: Rung,
    config: TrainConfig,
    corpus: Corpus,
    directory: Path,
    trained: Callable[[Run, TokenData], Stopwatch | None],
) -> Replayed | None:
    """Trains a rung's model, or its models, and measures them. ``config`` is the rung's, perhaps with another seed,
    precision or length.

    The runs are ordinary ones: ``directory`` itself, or member-1, member-2, … in it. ``trained`` trains one of them to
    its end, as ``trained_member`` does; if it returns None, training was stopped, and so does this.
    """
    if rung.members == 1:
        the_run, data = _new_run(directory, config, corpus)
        watch = trained(the_run, data)
        if watch is None:
            return None
        evaluations = tuple(watch.evaluations)
        digest = hashlib.sha256(_bytes_of(the_run.model("last")[0]))
    else:
        digest, evaluations, targets = hashlib.sha256(), (), []
        for member in range(rung.members):
            own = replace(config, seed=config.seed + member * _BETWEEN_MEMBERS)
            the_run, data = _new_run(directory / f"member-{member + 1}", own, corpus)
            watch = trained(the_run, data)
            if watch is None:
                return None
            model = the_run.model("last")[0]
            digest.update(_bytes_of(model))
            targets.append(predicted_by(model, data.validation))
            evaluations += (_after(watch.evaluations[-1], evaluations, loss_of_average(targets)),)
    reached = _reached(track, evaluations)
    return Replayed(config, evaluations, reached, digest.hexdigest())


def trained_member(
    the_run: Run, data: TokenData, shown: Reporter, should_stop: Callable[[], bool] = lambda: False
) -> Stopwatch | None:
    """Trains a run to its end; None if ``should_stop`` ended it before."""
    watch = Stopwatch(shown)
    return watch if train(the_run, data, reporter=watch, should_stop=should_stop).finished else None


def predicted_by(model: LanguageModel, tokens: Array, threads: int | None = None) -> Array:
    """The logarithm of the probability that the model gives to each token but the first, in float64, from windows of
    block_size tokens that do not overlap: what ``training.evaluate`` takes the mean of.
    """
    block_size = model.config.block_size
    batches = list(sequential_batches(tokens, windows_per_batch(block_size), block_size))

    def log_probabilities(batch: tuple[Array, Array]) -> Array:
        x, y = batch
        with no_grad():
            logs, _ = ops.log_softmax(model.logits(x).astype(np.float64))
        return np.take_along_axis(logs, y[..., None], axis=-1).reshape(-1)

    count = min(available_cores(), len(batches)) if threads is None else threads
    model.eval()
    with cores_for(count), Team(count) as team:
        return np.concatenate(team.map(log_probabilities, batches))


def loss_of_average(log_probabilities: Sequence[Array]) -> float:
    """The mean loss if the probabilities of several models are averaged, from those of each token's target.

    p = (1/M) Σ_m p_m; its logarithm is taken from the largest p_m, so that nothing underflows.
    """
    stacked = np.stack(log_probabilities)
    largest = stacked.max(axis=0)
    logs = largest + np.log(np.mean(np.exp(stacked - largest), axis=0))
    return -math.fsum(logs) / len(logs)


def in_minutes(config: TrainConfig, minutes: float, corpus: Corpus) -> TrainConfig:
    """The settings with as many steps as fit into the minutes on this machine, without evaluations. The warm-up and
    the interval of evaluations keep their share.
    """
    steps = Budget(minutes, "minutes").steps(config, _encoded(config, corpus))
    share = steps / config.max_steps
    warmup, interval = round(config.warmup_steps * share), max(1, round(config.eval_interval * share))
    return replace(config, max_steps=steps, warmup_steps=warmup, eval_interval=interval, checkpoint_interval=interval)


def check_is_the_text(corpus: Corpus) -> None:
    """Raises InputError unless the text is tiny Shakespeare, the same to the byte."""
    if corpus.sha256 != SHAKESPEARE_SHA256:
        raise InputError(
            f"the speedrun is about tiny Shakespeare; {corpus.source} is another text: its SHA-256 is "
            f"{corpus.sha256[:16]}…, not {SHAKESPEARE_SHA256[:16]}…"
        )


def libraries_here(config: TrainConfig) -> str:
    """Names and versions of what the bits of a run depend on, in one line."""
    here = Environment.here(shards_for(config))
    return f"handgrad {here.versions['handgrad']}, numpy {here.versions['numpy']}, {here.compiler}, {here.blas}"


def _new_run(path: Path, config: TrainConfig, corpus: Corpus) -> tuple[Run, TokenData]:
    data = _encoded(config, corpus)
    the_run = create_run(path, config, data, None, shards_for(config), None)
    return the_run, the_run.data()


def _encoded(config: TrainConfig, corpus: Corpus) -> TokenData:
    return encoded_with(corpus, make_tokenizer(config.tokenizer, config.vocab_size, config.byte_fallback), config)


def _bytes_of(model: LanguageModel) -> bytes:
    return model.arena.data.astype("<f4").tobytes()


def _after(last: Evaluated, before: Sequence[Evaluated], loss: float) -> Evaluated:
    """The end of one more model's training, with the loss of all models' average."""
    if not before:
        return last._replace(loss=loss)
    so_far = before[-1]
    return Evaluated(so_far.step + last.step, loss, so_far.seconds + last.seconds, so_far.evaluating + last.evaluating)


def _reached(track: Track, evaluations: Sequence[Evaluated]) -> Evaluated | None:
    if track.target is None:
        return evaluations[-1]
    return next((each for each in evaluations if each.step and each.loss <= track.target), None)
