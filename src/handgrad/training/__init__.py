"""Training: the loop, a step, the shards of a batch, evaluation, and the handling of NaN and infinity."""

from handgrad.runs import TrainConfig
from handgrad.training.compile_first import compile_generation, compile_kernels
from handgrad.training.evaluation import bits_per_character, evaluate
from handgrad.training.loop import DivergedError, Outcome, Reporter, train
from handgrad.training.memory_estimate import check_fits_memory
from handgrad.training.pace import measure_pace, seconds_per_step
from handgrad.training.time_estimate import expected_seconds, slow_first_step

__all__ = [
    "DivergedError",
    "Outcome",
    "Reporter",
    "TrainConfig",
    "bits_per_character",
    "check_fits_memory",
    "compile_generation",
    "compile_kernels",
    "evaluate",
    "expected_seconds",
    "measure_pace",
    "seconds_per_step",
    "slow_first_step",
    "train",
]
