"""The length of a run in minutes: how many steps fit into them, and which defaults follow."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from handgrad.runs.agreement import agreed_on_length
from handgrad.runs.config import TrainConfig
from handgrad.system.errors import InputError

FEWEST_STEPS = 10
"""A shorter run says nothing."""
LONGEST_MINUTES = 366 * 24 * 60
_SHARE_OF_EVALUATIONS = 1 / 5
"""Of the time between two evaluations, the most that one takes, with its checkpoint, if the interval is a default."""
_SHARE_OF_CHECKPOINTS = 1 / 20


@dataclass(frozen=True)
class Pace:
    """How long each part of a training takes on this machine, in seconds."""

    step: float
    evaluation: float
    checkpoint: float
    sample: float = 0.0
    """Writing a text, for ``sample_interval``."""

    def __str__(self) -> str:
        parts = [
            f"a step takes {spoken(self.step)}",
            f"an evaluation {spoken(self.evaluation)}",
            f"a checkpoint {spoken(self.checkpoint)}",
        ]
        if self.sample:
            parts.append(f"a sample {spoken(self.sample)}")
        return f"{', '.join(parts[:-1])} and {parts[-1]}"


def check_minutes(minutes: float) -> None:
    """Raises InputError if a run cannot be so long."""
    if not 0 < minutes <= LONGEST_MINUTES:
        raise InputError(f"--minutes must be above 0 and at most {LONGEST_MINUTES:,}, a year, not {minutes:g}")


def seconds_of(config: TrainConfig, pace: Pace) -> float:
    """The time of a training, from the evaluation before its first step to its last checkpoint.

    It counts a checkpoint for each evaluation, as each may be the best so far.
    """
    steps, evaluated, saved = config.max_steps, config.eval_interval, config.checkpoint_interval
    evaluations = -(-steps // evaluated)  # the last step is evaluated, too
    both = math.lcm(evaluated, saved)
    saves = evaluations + steps // saved - steps // both - (steps % saved == 0 and steps % both != 0)
    samples = steps // config.sample_interval + 1 if config.sample_interval else 0
    return steps * pace.step + (evaluations + 1) * pace.evaluation + saves * pace.checkpoint + samples * pace.sample


def fitted(
    config: TrainConfig,
    defaults: TrainConfig,
    given: Collection[str],
    pace: Pace,
    minutes: float,
    notice: Callable[[str], None] = lambda sentence: None,
) -> TrainConfig:
    """The settings with the largest ``max_steps`` that fits into the minutes.

    Defaults follow. If the run is shorter than that of ``defaults``, the warm-up and the intervals of evaluations,
    checkpoints and decays keep their share of it. If evaluations or checkpoints take much time, they become fewer.
    Settings that were ``given`` stay. ``notice`` receives a sentence about defaults that move.

    Raises InputError if only a few steps fit, or if a setting that was given does not fit into them.
    """
    seconds = 60 * minutes
    shortest = _following(config, defaults, given, pace, FEWEST_STEPS)
    if seconds_of(shortest, pace) > seconds:
        needed = seconds_of(shortest, pace) / 60
        raise InputError(
            f"--minutes {minutes:g} is too short for {FEWEST_STEPS} steps of this run: {pace}; give "
            f"{_rounded_up(needed)} minutes or more, or choose a smaller model"
        )
    fits, too_many = FEWEST_STEPS, max(int(seconds / pace.step), FEWEST_STEPS) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if seconds_of(_following(config, defaults, given, pace, middle), pace) <= seconds:
            fits = middle
        else:
            too_many = middle
    found = _following(config, defaults, given, pace, fits)
    try:
        agreed_on_length(found, defaults, {*given} - {"max_steps"}, notice)
    except InputError as error:
        raise InputError(f"--minutes {minutes:g} is {fits:,} steps on this machine, and {error}") from None
    _say_what_follows(config, found, defaults, notice)
    return found


def _following(
    config: TrainConfig, defaults: TrainConfig, given: Collection[str], pace: Pace, steps: int
) -> TrainConfig:
    """The settings with so many steps, and the defaults that follow."""
    shorter = min(steps, defaults.max_steps)
    moved: dict[str, Any] = {"max_steps": steps}
    if "warmup_steps" not in given:
        moved["warmup_steps"] = config.warmup_steps * shorter // defaults.max_steps
    intervals = ["eval_interval", "checkpoint_interval"]
    if config.schedule == "step":
        intervals.append("step_size")
    for name in intervals:
        if name not in given:
            moved[name] = -(-getattr(config, name) * shorter // defaults.max_steps)
    for name, taken, share in (
        ("eval_interval", pace.evaluation + pace.checkpoint, _SHARE_OF_EVALUATIONS),
        ("checkpoint_interval", pace.checkpoint, _SHARE_OF_CHECKPOINTS),
    ):
        if name not in given:
            seldom = math.ceil(taken / pace.step * (1 / share - 1))
            moved[name] = min(max(moved[name], seldom), max(steps, moved[name]))
    return replace(config, **moved)


def _say_what_follows(
    before: TrainConfig, after: TrainConfig, defaults: TrainConfig, notice: Callable[[str], None]
) -> None:
    names = ("warmup_steps", "eval_interval", "checkpoint_interval", "step_size")
    changed = [name for name in names if getattr(after, name) != getattr(before, name)]
    seldom = [name for name in changed if getattr(after, name) > getattr(before, name)]
    shared = [name for name in changed if name not in seldom]
    for some, because in (
        (shared, f"the run has {after.max_steps:,} steps instead of {defaults.max_steps:,}"),
        (seldom, "more often would take too much of the time"),
    ):
        if some:
            values = [f"{name} becomes {getattr(after, name):,} instead of {getattr(before, name):,}" for name in some]
            notice(f"{', '.join(values)}: {because}")


def spoken(seconds: float) -> str:
    """A time in words: 98 ms, 1.3 s, 4.5 minutes, 2.5 hours."""
    below = {"ms": 1.0, "s": 120.0, "minutes": 7200.0}
    unit = next((name for name, most in below.items() if seconds < most), "hours")
    amount = seconds / {"ms": 1e-3, "s": 1.0, "minutes": 60.0, "hours": 3600.0}[unit]
    digits = 0 if amount >= 10 else 1 if amount >= 1 else 2
    return f"{amount:,.{digits}f} {unit}"


def _rounded_up(minutes: float) -> str:
    """With two digits, and not less."""
    unit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return f"{math.ceil(minutes / unit) * unit:g}"
