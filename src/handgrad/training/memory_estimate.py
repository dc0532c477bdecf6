"""Checks before a run begins or goes on that it can fit into this machine's memory, and how long a step may take."""

from handgrad.models import GPTConfig
from handgrad.optim import AdamW, Muon
from handgrad.runs.config import OPTIMIZERS, TrainConfig
from handgrad.runs.environment import choose_threads
from handgrad.system.errors import InputError
from handgrad.system.memory import physical_memory
from handgrad.system.processes import SINGLE, Processes
from handgrad.system.processor import available_cores
from handgrad.training.exchange import numbers_received
from handgrad.training.replicas import gradients_at_once

_BYTES_OF_A_BLOCK = 14_000
"""Python's objects for one transformer block: modules, parameters, views of the arena. Measured with width 4."""
_BYTES_OF_ITS_REPLICA = 9_000
_BYTES_OF_A_TOKEN = 16
"""Input and target, both int64. A step draws all its batches before it begins."""
_SECONDS_OF_A_BLOCK = 5e-4
"""For Python alone, forward and backward, or to make it once."""
_FLOPS_PER_SECOND = 5e10
"""Of one core, at small sizes."""
_LONG = 60.0


def check_fits_memory(
    config: TrainConfig, model: GPTConfig, shards: int, processes: Processes = SINGLE, *, resumes: bool = False
) -> None:
    """Raises InputError if training takes more memory than the machine has. ``resumes``: sizes cannot change any more.

    The estimate is a lower bound, in float32: the weights, the gradients that the threads keep while they add up those
    of the shards, the optimizer's moments, the averaged weights, the outputs of the forward's matrix products for the
    shards that are computed at the same time, since the backward needs at least as many numbers, the ids of all batches
    of a step, and Python's objects for the blocks. Several processes share the memory of their machine.
    """
    available = physical_memory()
    if available is not None:
        available //= processes.on_this_machine
    threads = min(choose_threads(config.replicas, shards, processes.cores), shards)
    moments = _moments(config, model) // processes.size
    received = 0
    if processes.size > 1:
        received = numbers_received(shards, processes.size, model.n_parameters)
        shards = max(1, shards // processes.size)
        threads = min(threads, shards)
    gradients = gradients_at_once(shards, threads)
    arrays = 1 + gradients + bool(config.ema)
    products = model.products(max(1, config.batch_size // (shards * processes.size) * threads), config.block_size)
    kept = sum(each.rows * each.columns * each.count for each in products if not each.is_backward)
    objects = model.n_layer * (_BYTES_OF_A_BLOCK + _BYTES_OF_ITS_REPLICA * (gradients - 1))
    tokens = config.batch_size * config.block_size
    ids = tokens * config.grad_accum_steps * _BYTES_OF_A_TOKEN
    needed = 4 * (arrays * model.n_parameters + moments + received + kept) + objects + ids
    if available is not None and needed > available:
        smaller, batches = ["n_layer", "n_embd", "block_size", "batch_size"], ""
        if config.grad_accum_steps > 1:
            smaller.append("grad_accum_steps")
            batches = f", {config.grad_accum_steps:,} of them in a step,"
        better = f"make {', '.join(smaller[:-1])} or {smaller[-1]} smaller"
        if resumes:
            fewer = f"with fewer --replicas than {threads:,}, or " if threads > 1 else ""
            better = f"continue {fewer}on a machine that has more"
        whose = "this machine"
        if processes.on_this_machine > 1:
            whose = f"each of {processes.on_this_machine:,} processes on this machine"
        raise InputError(
            f"training {model.n_parameters:,} parameters in {model.n_layer:,} layers with {tokens:,} tokens in a batch"
            f"{batches} takes at least {needed / 2**30:,.1f} GiB of memory, and {whose} has "
            f"{available / 2**30:,.1f}; {better}"
        )


def _moments(config: TrainConfig, model: GPTConfig) -> int:
    """How many numbers the optimizer keeps."""
    kind, _ = OPTIMIZERS[config.optimizer]
    in_matrices, others = model.n_in_matrices, model.n_parameters - model.n_in_matrices
    rest = AdamW if kind is Muon else kind
    return in_matrices * len(kind.state_names) + others * len(rest.state_names)


def slow_first_step(config: TrainConfig, model: GPTConfig, shards: int) -> str | None:
    """A sentence if the first step takes more than about a minute, as nothing is shown before it; None otherwise."""
    seconds, flops = expected_seconds(config, model, shards)
    if seconds < _LONG:
        return None
    windows = config.batch_size * config.grad_accum_steps
    return (
        f"a step runs {model.n_layer:,} layers on {windows:,} windows ({flops:.1e} floating-point operations): the "
        f"first may take {_duration(seconds)}"
    )


def expected_seconds(config: TrainConfig, model: GPTConfig, shards: int) -> tuple[float, int]:
    """About how long the first step takes in one process, and the floating-point operations of its products."""
    flops = sum(each.flops for each in model.products(config.batch_size, config.block_size)) * config.grad_accum_steps
    threads = choose_threads(config.replicas, shards)
    making = model.n_layer * (1 + gradients_at_once(shards, threads)) * _SECONDS_OF_A_BLOCK
    each = -(-shards // min(threads, shards))  # of the shards, one after another
    calls = model.n_layer * config.grad_accum_steps * each * _SECONDS_OF_A_BLOCK
    return flops / (_FLOPS_PER_SECOND * available_cores()) + making + calls, flops


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{max(seconds / 60, 1):,.0f} minutes"
