"""Replicas: threads that share the parameters and the batch, each with its own gradients."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from handgrad.data.batches import Batch
from handgrad.data.workers import available_cores
from handgrad.models import GPT


def choose_replicas(wanted: int, batch_size: int) -> int:
    """``wanted``, or one for each core where it is 0; never more than there are windows in a batch."""
    return min(wanted or available_cores(), batch_size)


class Replicas:
    """A model and its replicas, which together compute the gradient of a batch.

    The first replica is the model itself, whose gradients receive the sum. Shares are cut by position and summed in
    one order, so that results depend on the number of replicas but never on timing.
    """

    def __init__(self, model: GPT, count: int) -> None:
        self.models = [model, *(model.replica() for _ in range(count - 1))]
        self.executor = ThreadPoolExecutor(count, thread_name_prefix="replica")

    def loss_and_gradients(self, batches: list[Batch], dropout_seed: tuple[int, ...]) -> float:
        """The mean loss over all batches; its gradient in the model's gradients, replacing what was there.

        Several batches are gradient accumulation: each replica takes its share of one after another.
        """
        total = sum(y.size for _, y in batches)
        shares = [[] for _ in self.models]  # type: list[list[Batch]]
        for x, y in batches:
            parts = zip(np.array_split(x, len(shares)), np.array_split(y, len(shares)), strict=True)
            for share, part in zip(shares, parts, strict=True):
                share.append(part)

        def run(index: int) -> float:
            model, loss = self.models[index], 0.0
            model.zero_grad()
            if model.config.dropout:
                model.set_generator(np.random.default_rng([*dropout_seed, index]))
            # Whether the numbers are still finite is asked once, of the result; no need to warn on the way.
            with np.errstate(over="ignore", invalid="ignore"):
                for x, y in shares[index]:
                    weight = y.size / total
                    loss += model.loss(x, y) * weight
                    model.backward(weight)
            return loss

        losses = list(self.executor.map(run, range(len(self.models))))
        first, *others = self.models
        for other in others:
            first.arena.grad += other.arena.grad
        return sum(losses)

    def close(self) -> None:
        """Lets the threads go."""
        self.executor.shutdown()


@contextmanager
def one_blas_thread_per_replica(replicas: int) -> Iterator[None]:
    """Several replicas call BLAS single-threaded, so that they do not fight for the cores; put back afterwards."""
    if replicas == 1:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
