"""What a step would take in many processes: computed from a step on this machine and a stated network."""

import math
import statistics
import time
from dataclasses import dataclass

from handgrad.benchmarking.cases import Case
from handgrad.runs import choose_shards
from handgrad.training.replicas import Replicas, cores_for

_WARM_UP_STEPS = 3
_BYTES = 4
_SMALL_EXCHANGES = 4
"""Of losses and of squares, each with its length before it."""


@dataclass(frozen=True)
class Network:
    """What connects the processes."""

    latency: float
    """Seconds until a small message arrives."""
    bandwidth: float
    """Bytes in a second, into a process and out of it at the same time."""


@dataclass(frozen=True)
class Measured:
    """A step on this machine."""

    gradient: float
    """Seconds for the gradient of a batch."""
    update: float
    """Seconds for the step of the optimizer."""
    n_parameters: int
    batch_size: int


@dataclass(frozen=True)
class Planned:
    """A step of so many processes, each on a machine like this one."""

    processes: int
    network: float
    """Seconds for messages."""
    weak: float
    """Seconds of a step if each process has the batch that was measured, so that the whole batch grows."""
    weak_efficiency: float
    """Of each machine's work, the share of what it does alone."""
    strong: float | None
    """Seconds of a step if the batch that was measured is divided; None if it has fewer windows."""
    speedup: float | None
    """How many times as fast as one machine that is."""


def measure_step(case: Case, rounds: int, shards: int = 0, threads: int = 0) -> Measured:
    """The medians of so many steps, after some that are not timed."""
    count = choose_shards(shards, case.batch_size)
    model = case.make_model()
    replicas = Replicas(model, count, threads)
    optimizer = case.train.make_optimizer(model.decay_groups(case.train.weight_decay))
    gradients, updates = [], []
    try:
        with cores_for(count):
            for step in range(_WARM_UP_STEPS + rounds):
                begun = time.perf_counter()
                _, grad_norm = replicas.loss_and_gradients([case.batch(step)], (case.train.seed, step))
                between = time.perf_counter()
                replicas.update(optimizer, grad_norm, case.train.grad_clip)
                gradients.append(between - begun)
                updates.append(time.perf_counter() - between)
    finally:
        replicas.close()
    gradient, update = (statistics.median(times[_WARM_UP_STEPS:]) for times in (gradients, updates))
    return Measured(gradient, update, model.n_parameters, case.batch_size)


def plan(measured: Measured, network: Network, processes: int) -> Planned:
    """The step of so many processes, if nothing is sent while something is computed.

    Each sends its gradient in parts, one message after another, and collects the weights around a ring; small messages
    go along a tree. Each has equal parts of the optimizer's work, and the time to add up gradients is part of the
    measured step, as threads add up those of shards.
    """
    others = processes - 1
    messages = 2 * others + _SMALL_EXCHANGES * math.ceil(math.log2(processes))
    sent = 2 * _BYTES * measured.n_parameters * others / processes
    time_of_network = messages * network.latency + sent / network.bandwidth
    alone, update = measured.gradient + measured.update, measured.update / processes
    weak = measured.gradient + update + time_of_network
    strong = speedup = None
    if processes <= measured.batch_size:
        # The process with most windows is waited for.
        share = math.ceil(measured.batch_size / processes) / measured.batch_size
        strong = measured.gradient * share + update + time_of_network
        speedup = alone / strong
    return Planned(processes, time_of_network, weak, alone / weak, strong, speedup)
