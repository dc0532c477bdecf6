"""One step of training: draw a batch, compute its loss and gradient, update the weights."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.data import Epochs, TokenData, n_targets, random_batch
from handgrad.data.batches import Batch
from handgrad.models import LanguageModel
from handgrad.optim import Optimizer, WeightAverage
from handgrad.optim.common_rate import CommonRate
from handgrad.runs.config import TrainConfig
from handgrad.system.arrays import Array
from handgrad.system.processes import SINGLE, Processes
from handgrad.system.threads import Team
from handgrad.training.division import Division
from handgrad.training.replicas import Replicas
from handgrad.training.stability import first_gradient, first_weight

# The purposes of random numbers. Seed, purpose and step seed a generator of their own, so that a resumed run draws the
# same numbers.
_BATCHES, _DROPOUT, _EPOCHS = 1, 2, 3


def batch_generator(seed: int, number: int) -> np.random.Generator:
    """The generator that draws the batches of a run's step; ``number`` counts from 0."""
    return np.random.default_rng([seed, _BATCHES, number])


class Stepper:
    """Makes the steps of a run. The random numbers of a step depend on the seed and the step's number alone."""

    def __init__(
        self,
        config: TrainConfig,
        shards: int,
        data: TokenData,
        model: LanguageModel,
        optimizer: Optimizer,
        check_windows: Callable[[Array, int], None],
        average: WeightAverage | None = None,
        processes: Processes = SINGLE,
    ) -> None:
        self.check_windows = check_windows
        """Raises if the token file has changed under windows that were drawn from it."""
        self.config, self.data, self.model, self.optimizer = config, data, model, optimizer
        self.rate, self.average = CommonRate(optimizer, config.lr), average
        respects = config.boundaries == "respect"
        self.windows = data.windows(data.train, config.block_size) if respects else None
        self.epochs: Epochs | None = None
        if config.sampling == "epochs":
            self.epochs = Epochs(self.windows or data.train, config.block_size, (config.seed, _EPOCHS))
        self.processes = processes
        self.division = None if processes.size == 1 else Division(model, optimizer, processes)
        self.replicas = Replicas(model, shards, config.replicas, self.division)

    @property
    def team(self) -> Team:
        """The threads that share the work."""
        return self.replicas.team

    def gradient(self, number: int) -> tuple[float, float, int]:
        """The loss, the norm of its gradient, which the parameters then hold, and the number of tokens.

        Raises InputError if the token files have changed since training began.
        """
        batches = self._batches(number)
        try:
            loss, grad_norm = self.replicas.loss_and_gradients(batches, self._dropout_seed(number))
        except IndexError:  # the model found an id outside its vocabulary: the files may have changed meanwhile
            for ids in (ids for batch in batches for ids in batch):
                self.data.check_ids(ids)
            raise
        return loss, grad_norm, sum(n_targets(y) for _, y in batches)

    def update(self, lr: float, grad_norm: float, before: int) -> None:
        """Updates the weights with the gradient, clipped if the run has a ``grad_clip``, and then their average.

        ``before``: how many updates were made before.
        """
        self.rate.set(lr)
        self.replicas.update(self.optimizer, grad_norm, self.config.grad_clip)
        if self.average is not None:
            self.average.update(before, self.team)

    def why_not_finite(self, number: int, loss: float, grad_norm: float) -> str:
        """Where NaN or infinity first appeared in this step, in words."""
        what = f"the gradient's norm is {grad_norm}" if math.isfinite(loss) else f"the loss is {loss}"
        if weight := first_weight(self.model):
            return f"{what}, because {weight} already contains NaN or infinity"
        if layer := self.replicas.first_affected(self._batches(number), self._dropout_seed(number)):
            what += f"; first seen in {layer}"
        if gradient := self._first_gradient():
            what += f"; the first gradient that is not finite is that of {gradient}"
        return what

    def _first_gradient(self) -> str | None:
        """The first parameter, in the order of the backward, whose gradient is not finite; None if there is none."""
        if self.division is None:
            return first_gradient(self.model)
        # Each process has the gradients of its own parameters, and those of the last process come first.
        found = self.processes.gathered(first_gradient(self.model, self.division.is_own))
        return next((name for name in reversed(found) if name is not None), None)

    def state(self) -> dict[str, Any] | None:
        """The optimizer's whole state, in process 0, if several processes have parts of it; None if the optimizer has
        it. All processes call this.
        """
        return None if self.division is None else self.division.whole_state(self.optimizer)

    def close(self) -> None:
        """Ends the threads."""
        self.replicas.close()

    def _dropout_seed(self, number: int) -> tuple[int, ...]:
        return self.config.seed, _DROPOUT, number

    def _batches(self, number: int) -> list[Batch]:
        config = self.config
        if self.epochs is not None:
            first = number * config.grad_accum_steps
            numbers = range(first, first + config.grad_accum_steps)
            return [self.epochs.batch(each, config.batch_size, self.check_windows) for each in numbers]
        rng = batch_generator(config.seed, number)
        if self.windows is not None:
            return [
                self.windows.random_batch(config.batch_size, rng, self.check_windows)
                for _ in range(config.grad_accum_steps)
            ]
        # Ids need no check here: the files were checked when training began, and the model checks each lookup.
        return [
            random_batch(self.data.train, config.batch_size, config.block_size, rng, self.check_windows)
            for _ in range(config.grad_accum_steps)
        ]
