"""The speedrun: the least time to a loss on tiny Shakespeare. Each rung of its ladders is a TOML file in ``rungs``."""

from handgrad.experiments.speedrun.records import Record, matching_record, record_as_toml, spread_of
from handgrad.experiments.speedrun.replaying import (
    Replayed,
    check_is_the_text,
    in_minutes,
    libraries_here,
    loss_of_average,
    predicted_by,
    replay,
    trained_member,
)
from handgrad.experiments.speedrun.rungs import Rung, read_rungs, rung_called, write_records
from handgrad.experiments.speedrun.stopwatch import Evaluated, Stopwatch
from handgrad.experiments.speedrun.tracks import TRACKS, Track, track_called

__all__ = [
    "Evaluated",
    "Record",
    "Replayed",
    "Rung",
    "Stopwatch",
    "TRACKS",
    "Track",
    "check_is_the_text",
    "in_minutes",
    "libraries_here",
    "loss_of_average",
    "matching_record",
    "predicted_by",
    "read_rungs",
    "record_as_toml",
    "replay",
    "rung_called",
    "spread_of",
    "track_called",
    "trained_member",
    "write_records",
]
