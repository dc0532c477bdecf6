"""The time of training, with the time of evaluations told apart."""

import time
from collections.abc import Callable
from typing import NamedTuple

from handgrad.data import TokenData
from handgrad.models import LanguageModel
from handgrad.runs import Metrics
from handgrad.runs.checkpoint import Progress
from handgrad.training import Reporter


class Evaluated(NamedTuple):
    """An evaluation of a run."""

    step: int
    loss: float
    seconds: float
    """Time of training up to here, from the start of the first step, without evaluations and what is shown."""
    evaluating: float
    """Time of the evaluations so far, after the first step; that of the initial weights does not count."""


class Stopwatch(Reporter):
    """Passes all events on to another reporter, whose own time does not count, and notes each evaluation.

    A checkpoint counts as training: its time belongs to the step that follows it. The last one counts for nothing, as
    no step follows.
    """

    def __init__(self, shown: Reporter, clock: Callable[[], float] = time.perf_counter) -> None:
        self.evaluations: list[Evaluated] = []
        self._shown, self._clock = shown, clock
        self._since = self._training = self._evaluating = 0.0

    def started(self, model: LanguageModel, data: TokenData, progress: Progress) -> None:
        self._shown.started(model, data, progress)
        self._since = self._clock()

    def stepped(self, metrics: Metrics) -> None:
        self._training += self._clock() - self._since
        self._shown.stepped(metrics)
        self._since = self._clock()

    def evaluated(self, metrics: Metrics, model: LanguageModel) -> None:
        if metrics.step:
            self._evaluating += self._clock() - self._since
        assert metrics.val_loss is not None
        self.evaluations.append(Evaluated(metrics.step, metrics.val_loss, self._training, self._evaluating))
        self._shown.evaluated(metrics, model)
        self._since = self._clock()

    def noticed(self, sentence: str) -> None:
        self._shown.noticed(sentence)
