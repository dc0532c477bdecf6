"""How long a training step may take, estimated before a run begins."""

from handgrad.models import GPTConfig
from handgrad.runs.config import TrainConfig
from handgrad.runs.environment import choose_threads
from handgrad.system.processor import available_cores
from handgrad.training.replicas import gradients_at_once

_SECONDS_OF_A_BLOCK = 5e-4
"""For Python alone, forward and backward, or to make it once."""
_FLOPS_PER_SECOND = 5e10
"""Of one core, at small sizes."""
_LONG = 60.0


def slow_first_step(config: TrainConfig, model: GPTConfig, shards: int) -> str | None:
    """A sentence if the first step takes more than about a minute, as nothing is shown before it; None otherwise."""
    seconds = expected_seconds(config, model, shards)
    if seconds < _LONG:
        return None
    windows = config.batch_size * config.grad_accum_steps
    return (
        f"a step runs {model.n_layer:,} layers on {windows:,} windows "
        f"({_operations(config, model):.1e} floating-point operations): the "
        f"first may take {_duration(seconds)}"
    )


def expected_seconds(config: TrainConfig, model: GPTConfig, shards: int) -> float:
    """About how long the first step takes in one process; it makes the replicas, so that later ones are faster."""
    threads = choose_threads(config.replicas, shards)
    making = model.n_layer * (1 + gradients_at_once(shards, threads)) * _SECONDS_OF_A_BLOCK
    each = -(-shards // min(threads, shards))  # of the shards, one after another
    calls = model.n_layer * config.grad_accum_steps * each * _SECONDS_OF_A_BLOCK
    return _operations(config, model) / (_FLOPS_PER_SECOND * available_cores()) + making + calls


def _operations(config: TrainConfig, model: GPTConfig) -> int:
    """Floating-point operations of a step's matrix products."""
    return sum(each.flops for each in model.products(config.batch_size, config.block_size)) * config.grad_accum_steps


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{max(seconds / 60, 1):,.0f} minutes"
