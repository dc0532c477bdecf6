"""The run: its configuration, the loop, evaluation, metrics, checkpoints, replicas."""

from handgrad.training.checkpoint import load_model
from handgrad.training.config import TrainConfig, read_config_file
from handgrad.training.evaluation import bits_per_character, evaluate
from handgrad.training.keeping import find_checkpoint, load_intact
from handgrad.training.loop import DivergedError, Outcome, Reporter, train
from handgrad.training.memory import check_fits_memory
from handgrad.training.metrics import Metrics, read_metrics
from handgrad.training.presets import PRESETS, preset
from handgrad.training.replicas import choose_replicas
from handgrad.training.resuming import resumed
from handgrad.training.run_directory import Run, check_is_free, create_run, next_free, open_run
from handgrad.training.warm_up import compile_kernels

__all__ = [
    "PRESETS",
    "DivergedError",
    "Metrics",
    "Outcome",
    "Reporter",
    "Run",
    "TrainConfig",
    "bits_per_character",
    "check_fits_memory",
    "check_is_free",
    "choose_replicas",
    "compile_kernels",
    "create_run",
    "evaluate",
    "find_checkpoint",
    "load_intact",
    "load_model",
    "next_free",
    "open_run",
    "preset",
    "read_config_file",
    "read_metrics",
    "resumed",
    "train",
]
