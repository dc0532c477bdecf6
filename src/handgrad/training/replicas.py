"""Replicas: threads that compute the shards of a batch. They share the parameters; each has gradients of its own."""

import gc
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from handgrad import ops
from handgrad.autograd import no_grad
from handgrad.backend import function_for, products_shared_by
from handgrad.data.batches import Batch, n_targets
from handgrad.models import LanguageModel
from handgrad.optim import Optimizer
from handgrad.optim.clip import clip_scale
from handgrad.runs.environment import blas_shares_products, choose_threads
from handgrad.system.arrays import Array
from handgrad.system.memory import keep_freed_memory
from handgrad.system.threads import Team
from handgrad.training.adding import adder
from handgrad.training.division import Division
from handgrad.training.exchange import Exchange
from handgrad.training.shard_tree import Span, additions, ends_of, parts_of, roots_of, sums_at_once
from handgrad.training.stability import watched

_PIECE = 1 << 18
"""Elements of the gradient that a thread sums at once."""


@dataclass(frozen=True)
class _Worker:
    """A thread's part of the shards."""

    part: Span
    ends: list[int]
    """For each shard, how many sums are complete with it."""
    models: list[LanguageModel]
    """One for each sum that is kept at the same time."""


class Replicas:
    """A model and its replicas, which together compute the gradient of a batch and make a step.

    The batch is cut into ``shards`` parts by position. The gradient of each is computed by itself, and the gradients
    are summed along the tree of ``shard_tree``. So results depend on the number of shards, and never on the number of
    threads or on timing. If there is one shard, the threads share its matrix products.

    The model's own gradients receive the sum. ``threads``: 0 uses one per core.

    ``division``: if several processes train the model. Each computes some of the shards, adds up the gradients of the
    parameters that it moves, and moves them; then all have all weights.
    """

    def __init__(self, model: LanguageModel, shards: int, threads: int = 0, division: Division | None = None) -> None:
        keep_freed_memory()  # before there are threads: one that has begun keeps a heap of its own
        self.shards = shards
        self.exchange = None if division is None else Exchange(model, division, shards, _PIECE)
        cores = None if division is None else division.processes.cores
        part_of_all = Span(0, shards) if self.exchange is None else self.exchange.part
        self.team = Team(choose_threads(threads, shards, cores))
        parts = parts_of(part_of_all, max(1, min(self.team.size, part_of_all.size)))
        self.models = [model]
        """The model, then its replicas."""
        self._workers: list[_Worker] = []
        for part in parts:
            own = [model] if part.first == part_of_all.first else []
            own += [model.replica() for _ in range(sums_at_once(shards, part) - len(own))]
            self.models += [each for each in own if each is not model]
            self._workers.append(_Worker(part, ends_of(shards, part), own))
        roots = [roots_of(shards, part) for part in parts]
        self._gradients: dict[int, Array] = {
            root.first: each.arena.grad
            for worker, of_part in zip(self._workers, roots, strict=True)
            for root, each in zip(of_part, worker.models, strict=False)
        }
        """The gradients of each worker's sums, by their first shard."""
        self._additions = additions(shards, part_of_all, [root for of_part in roots for root in of_part])

    def loss_and_gradients(self, batches: list[Batch], dropout_seed: tuple[int, ...] = ()) -> tuple[float, float]:
        """The mean loss over all batches, and the norm of its gradient. The gradient replaces the model's.

        Several batches mean gradient accumulation: each shard is a share of one batch after another.
        """
        total = sum(n_targets(y) for _, y in batches)
        shares = self._shares(batches)

        def loss_of(shard: int, model: LanguageModel) -> float:
            self._make_ready(model, shard, dropout_seed)
            loss = 0.0
            model.zero_grad()
            for x, y in shares[shard]:
                weight = n_targets(y) / total
                loss += model.loss(x, y) * weight
                model.backward(weight)
            return loss

        def run(worker: _Worker) -> list[float]:
            losses: list[float] = []
            # No warnings on the way: the result is checked once for NaN and infinity.
            with np.errstate(over="ignore", invalid="ignore"):
                for shard, ended in zip(range(*worker.part), worker.ends, strict=True):
                    losses.append(loss_of(shard, worker.models[len(losses)]))
                    for _ in range(ended):
                        newest = losses.pop()
                        losses[-1] += newest
                        target, added = (each.arena.grad for each in worker.models[len(losses) - 1 : len(losses) + 1])
                        function_for(ops.add_gradients, target, added)(target, [added])
            return losses

        with self._together():
            found = [loss for losses in self.team.map(run, self._workers) for loss in losses]
        losses = dict(zip(self._gradients, found, strict=True))
        for target, added in self._additions:
            losses[target] += losses[added]
        if self.exchange is None:
            return losses[0], self._add_gradients()
        if self._additions:
            self._add_gradients()
        firsts = [root.first for root in roots_of(self.shards, self.exchange.part)]
        gradients = {first: self._gradients[first] for first in firsts}
        return self.exchange.add_up({first: losses[first] for first in firsts}, gradients, self.team)

    def first_affected(self, batches: list[Batch], dropout_seed: tuple[int, ...] = ()) -> str | None:
        """Where a second forward of these batches first meets NaN or infinity; None if it meets neither."""
        model = self.models[0]
        for shard, share in enumerate(self._shares(batches)):
            self._make_ready(model, shard, dropout_seed)
            with self._together(), watched(model) as found, no_grad(), np.errstate(over="ignore", invalid="ignore"):
                for x, y in share:
                    model.loss(x, y)
            if found:
                return found[0]
        return None

    def _together(self) -> AbstractContextManager[None]:
        """A context in which the threads share the products of a single shard."""
        return products_shared_by(self.team) if self.shards == 1 else nullcontext()

    def _shares(self, batches: list[Batch]) -> list[list[Batch]]:
        """Each shard's share of each batch. If a batch has fewer windows than shards, some get none of it."""
        shares: list[list[Batch]] = [[] for _ in range(self.shards)]
        for x, y in batches:
            parts = zip(np.array_split(x, self.shards), np.array_split(y, self.shards), strict=True)
            for share, part in zip(shares, parts, strict=True):
                if part[1].size:
                    share.append(part)
        return shares

    def _make_ready(self, model: LanguageModel, shard: int, dropout_seed: tuple[int, ...]) -> None:
        """Makes dropout depend on the step and the shard alone, so that repeating the step drops the same elements."""
        if model.config.dropout:
            model.set_generator(np.random.default_rng([*dropout_seed, shard]))

    def _add_gradients(self) -> float:
        """Adds up the sums of the workers; returns the norm."""
        whole = self.models[0].arena.grad
        # Pieces of a fixed size, so that the norm does not depend on the number of threads.
        pieces = [slice(start, start + _PIECE) for start in range(0, whole.size, _PIECE)]
        return math.sqrt(math.fsum(self.team.map(adder(self._gradients, self._additions, whole), pieces)))

    def update(self, optimizer: Optimizer, grad_norm: float, grad_clip: float) -> None:
        """A step of the optimizer, with the gradient clipped to a norm of ``grad_clip``; 0 turns clipping off."""
        with _blas_alone() if optimizer.multiplies else nullcontext():
            optimizer.step(grad_scale=clip_scale(grad_norm, grad_clip or math.inf), team=self.team)
        if self.exchange is not None:
            weights = self.models[0].arena.data
            self.exchange.processes.complete(weights, self.exchange.division.spans)

    def close(self) -> None:
        """Ends the threads."""
        self.team.close()


def gradients_at_once(shards: int, threads: int) -> int:
    """How many gradients of a whole model so many threads keep while they add up those of so many shards."""
    return sum(sums_at_once(shards, part) for part in parts_of(Span(0, shards), min(threads, shards)))


@contextmanager
def cores_for(parts: int) -> Iterator[None]:
    """Gives the cores to threads that each compute some of these parts of the work: each calls BLAS single-threaded.

    With one part and NumPy alone, BLAS uses its own threads. Their number is restored afterwards. From now on the
    process keeps freed memory for reuse. Inside, the garbage collector skips objects that existed before.
    """
    keep_freed_memory()
    freezes = gc.get_freeze_count() == 0
    if freezes:
        gc.freeze()
    try:
        with nullcontext() if blas_shares_products(parts) else threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        if freezes:
            gc.unfreeze()


def _blas_alone() -> AbstractContextManager[Any]:
    """A context in which each caller of BLAS gets one thread, also with a single shard: the team has the others."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    """Finds the libraries once, which takes longer than a small step."""
    return ThreadpoolController()
