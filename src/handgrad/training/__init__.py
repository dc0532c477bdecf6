"""The run: its configuration, the loop, evaluation, metrics, checkpoints, replicas."""

from handgrad.training.beginning import check_is_free, is_beginning, laid_out
from handgrad.training.checkpoint import load_model, read_progress
from handgrad.training.config import TrainConfig, read_config_file
from handgrad.training.evaluation import bits_per_character, evaluate
from handgrad.training.keeping import clear_leftovers, find_checkpoint, load_intact
from handgrad.training.loop import DivergedError, Outcome, Reporter, train
from handgrad.training.memory import check_fits_memory
from handgrad.training.metrics import Metrics, read_metrics
from handgrad.training.presets import PRESETS, preset
from handgrad.training.replicas import choose_replicas
from handgrad.training.resuming import resumed, was_cut_off
from handgrad.training.run_directory import Run, create_run, next_free, open_run
from handgrad.training.tensorboard import check_can_write_events
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
    "check_can_write_events",
    "check_fits_memory",
    "check_is_free",
    "choose_replicas",
    "clear_leftovers",
    "compile_kernels",
    "create_run",
    "evaluate",
    "find_checkpoint",
    "is_beginning",
    "laid_out",
    "load_intact",
    "load_model",
    "next_free",
    "open_run",
    "preset",
    "read_config_file",
    "read_metrics",
    "read_progress",
    "resumed",
    "train",
    "was_cut_off",
]
