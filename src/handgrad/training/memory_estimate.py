"""Checks before a run begins or goes on that it can fit into this machine's memory."""

from handgrad.models import GPTConfig
from handgrad.optim import AdamW, Muon
from handgrad.runs.config import OPTIMIZERS, TrainConfig
from handgrad.runs.environment import choose_threads
from handgrad.system.errors import InputError
from handgrad.system.memory import physical_memory
from handgrad.system.processes import SINGLE, Processes
from handgrad.training.exchange import numbers_received
from handgrad.training.replicas import gradients_at_once

_BYTES_OF_A_BLOCK = 14_000
"""Python's objects for one transformer block: modules, parameters, views of the arena. Measured with width 4."""
_BYTES_OF_ITS_REPLICA = 9_000
_BYTES_OF_A_TOKEN = 16
"""Input and target, both int64. A step draws all its batches before it begins."""


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
    if available is None:
        return
    available //= processes.on_this_machine
    threads = min(choose_threads(config.replicas, shards, processes.cores), shards)
    needed = _needed(config, model, shards, threads, processes)
    if needed <= available:
        return
    tokens = config.batch_size * config.block_size
    batches = f", {config.grad_accum_steps:,} of them in a step," if config.grad_accum_steps > 1 else ""
    whose = "this machine"
    if processes.on_this_machine > 1:
        whose = f"each of {processes.on_this_machine:,} processes on this machine"
    if resumes:
        fits = threads > 1 and _needed(config, model, shards, 1, processes) <= available
        ways = [f"with fewer --replicas than {threads:,}"] if fits else []
        ways += ["in fewer processes on a machine"] if processes.on_this_machine > 1 else []
        better = f"continue {' or '.join([*ways, 'on a machine that has more'])}"
    else:
        smaller = ["n_layer", "n_embd", "block_size", "batch_size"]
        smaller += ["grad_accum_steps"] if config.grad_accum_steps > 1 else []
        better = f"make {', '.join(smaller[:-1])} or {smaller[-1]} smaller"
    raise InputError(
        f"training {model.n_parameters:,} parameters in {model.n_layer:,} layers with {tokens:,} tokens in a batch"
        f"{batches} takes at least {needed / 2**30:,.1f} GiB of memory, and {whose} has "
        f"{available / 2**30:,.1f}; {better}"
    )


def _needed(config: TrainConfig, model: GPTConfig, shards: int, threads: int, processes: Processes) -> int:
    """The bytes that a process needs at least."""
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
    ids = config.batch_size * config.block_size * config.grad_accum_steps * _BYTES_OF_A_TOKEN
    return 4 * (arrays * model.n_parameters + moments + received + kept) + objects + ids


def _moments(config: TrainConfig, model: GPTConfig) -> int:
    """How many numbers the optimizer keeps."""
    kind, _ = OPTIMIZERS[config.optimizer]
    in_matrices, others = model.n_in_matrices, model.n_parameters - model.n_in_matrices
    rest = AdamW if kind is Muon else kind
    return in_matrices * len(kind.state_names) + others * len(rest.state_names)
