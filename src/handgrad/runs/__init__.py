"""A run on disk: its directory, its settings, its metrics, its checkpoints, and the rules of resuming it."""

from handgrad.runs.agreement import agreed, check_agrees, without_effect
from handgrad.runs.checkpoint import load_model, read_progress
from handgrad.runs.config import TrainConfig, read_config_file
from handgrad.runs.directory import Run, create_run, next_free, open_run, taking_next_free
from handgrad.runs.environment import choose_shards, choose_threads
from handgrad.runs.length import Pace, check_minutes, fitted, seconds_of
from handgrad.runs.metrics import Metrics, read_metrics
from handgrad.runs.new_directory import check_is_free, is_unfinished, making_directory
from handgrad.runs.presets import PRESETS, preset
from handgrad.runs.resuming import resumed, was_cut_off
from handgrad.runs.retention import clear_leftovers, find_checkpoint, load_intact
from handgrad.runs.tensorboard import check_can_write_events

__all__ = [
    "PRESETS",
    "Metrics",
    "Pace",
    "Run",
    "TrainConfig",
    "agreed",
    "check_agrees",
    "check_can_write_events",
    "check_is_free",
    "check_minutes",
    "choose_shards",
    "choose_threads",
    "clear_leftovers",
    "create_run",
    "find_checkpoint",
    "fitted",
    "is_unfinished",
    "making_directory",
    "load_intact",
    "load_model",
    "next_free",
    "open_run",
    "preset",
    "read_config_file",
    "read_metrics",
    "read_progress",
    "resumed",
    "seconds_of",
    "taking_next_free",
    "was_cut_off",
    "without_effect",
]
