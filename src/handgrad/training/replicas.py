"""Replicas: threads that share the parameters and the batch, each with its own gradients."""

import gc
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from handgrad import ops
from handgrad.autograd import no_grad
from handgrad.backend import function_for, helped_by
from handgrad.data.batches import Batch, n_targets
from handgrad.models import LanguageModel
from handgrad.optim import Optimizer
from handgrad.optim.clip import clip_scale
from handgrad.system.memory import keep_freed_memory
from handgrad.system.processor import available_cores
from handgrad.system.threads import Team
from handgrad.training.stability import watched

_PIECE = 1 << 18
"""Elements of the gradient that a thread sums at once."""


class Replicas:
    """A model and its replicas, which together compute the gradient of a batch and make a step.

    The first replica is the model itself; its gradients receive the sum. The batch is split by position and gradients
    are summed in a fixed order, so that results depend on the number of replicas but never on timing.
    """

    def __init__(self, model: LanguageModel, count: int) -> None:
        keep_freed_memory()  # before there are threads: one that has begun keeps a heap of its own
        self.models = [model, *(model.replica() for _ in range(count - 1))]
        self.team = Team(max(count, available_cores()))

    def loss_and_gradients(self, batches: list[Batch], dropout_seed: tuple[int, ...] = ()) -> tuple[float, float]:
        """The mean loss over all batches, and the norm of its gradient. The gradient replaces the model's.

        Several batches mean gradient accumulation: each replica computes its share of one batch after another.
        """
        total = sum(n_targets(y) for _, y in batches)
        shares = self._shares(batches)

        def run(index: int) -> float:
            model, loss = self._ready(index, dropout_seed), 0.0
            model.zero_grad()
            # No warnings on the way: the result is checked once for NaN and infinity.
            with np.errstate(over="ignore", invalid="ignore"):
                for x, y in shares[index]:
                    weight = n_targets(y) / total
                    loss += model.loss(x, y) * weight
                    model.backward(weight)
            return loss

        alone = len(self.models) == 1 and self.models[0].config.precision == "bfloat16"
        with helped_by(self.team) if alone else nullcontext():
            loss = sum(self.team.map(run, range(len(self.models))))
        return loss, self._add_gradients()

    def first_affected(self, batches: list[Batch], dropout_seed: tuple[int, ...] = ()) -> str | None:
        """Where a second forward of these batches first meets NaN or infinity; None if it meets neither."""
        for index, share in enumerate(self._shares(batches)):
            model = self._ready(index, dropout_seed)
            with watched(model) as found, no_grad(), np.errstate(over="ignore", invalid="ignore"):
                for x, y in share:
                    model.loss(x, y)
            if found:
                return found[0]
        return None

    def _shares(self, batches: list[Batch]) -> list[list[Batch]]:
        """Each replica's share of each batch. If a batch has fewer windows than replicas, some get none of it."""
        shares: list[list[Batch]] = [[] for _ in self.models]
        for x, y in batches:
            parts = zip(np.array_split(x, len(shares)), np.array_split(y, len(shares)), strict=True)
            for share, part in zip(shares, parts, strict=True):
                if part[1].size:
                    share.append(part)
        return shares

    def _ready(self, index: int, dropout_seed: tuple[int, ...]) -> LanguageModel:
        """A replica whose dropout depends on the step alone, so that repeating the step drops the same elements."""
        model = self.models[index]
        if model.config.dropout:
            model.set_generator(np.random.default_rng([*dropout_seed, index]))
        return model

    def _add_gradients(self) -> float:
        first, *others = (model.arena.grad for model in self.models)
        add = function_for(ops.add_gradients, first, *others)

        def add_piece(piece: slice) -> float:
            with np.errstate(over="ignore", invalid="ignore"):
                return add(first[piece], [other[piece] for other in others])

        # Pieces of a fixed size, so that the norm does not depend on the number of threads.
        pieces = [slice(start, start + _PIECE) for start in range(0, first.size, _PIECE)]
        return math.sqrt(math.fsum(self.team.map(add_piece, pieces)))

    def update(self, optimizer: Optimizer, grad_norm: float, grad_clip: float) -> None:
        """A step of the optimizer, with the gradient clipped to a norm of ``grad_clip``; 0 turns clipping off."""
        with _blas_alone() if optimizer.multiplies else nullcontext():
            optimizer.step(grad_scale=clip_scale(grad_norm, grad_clip or math.inf), team=self.team)

    def close(self) -> None:
        """Ends the threads."""
        self.team.close()


@contextmanager
def cores_for(replicas: int) -> Iterator[None]:
    """Gives the cores to the replicas: several replicas call BLAS single-threaded, a single one uses all its threads.

    The number of threads is restored afterwards. From now on the process keeps freed memory for reuse. Inside, the
    garbage collector skips objects that existed before.
    """
    keep_freed_memory()
    freezes = gc.get_freeze_count() == 0
    if freezes:
        gc.freeze()
    try:
        with nullcontext() if replicas == 1 else threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        if freezes:
            gc.unfreeze()


def _blas_alone() -> AbstractContextManager[Any]:
    """A context in which each caller of BLAS gets one thread, also with a single replica: the team has the others."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    """Finds the libraries once, which takes longer than a small step."""
    return ThreadpoolController()
