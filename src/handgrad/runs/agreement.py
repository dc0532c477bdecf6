"""Settings of which one limits another. No default may undo what somebody asked for.

If a setting is given and a default contradicts it, the default moves along, in the proportion that it had before. If
both are given and together mean nothing, they are refused. If they mean something unusual, a sentence says what.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from handgrad.runs.config import TrainConfig
from handgrad.system.errors import InputError

_FALLS_TO_MIN_LR = ("cosine", "trapezoid")
_ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "min_lr": ("schedule", _FALLS_TO_MIN_LR),
    "step_size": ("schedule", ("step",)),
    "step_gamma": ("schedule", ("step",)),
    "decay_fraction": ("schedule", ("trapezoid",)),
    "decay_shape": ("schedule", ("trapezoid",)),
    "muon_lr": ("optimizer", ("muon",)),
    "muon_momentum": ("optimizer", ("muon",)),
    "beta2": ("optimizer", ("adam", "adamw", "muon")),
    "rope_base": ("positions", ("rotary",)),
}
"""Settings that matter only if another setting has one of these values."""


def agreed(
    config: TrainConfig,
    defaults: TrainConfig,
    given: Collection[str],
    notice: Callable[[str], None] = lambda sentence: None,
    *,
    length_is_known: bool = True,
) -> TrainConfig:
    """The settings of a new run, in which no default contradicts a setting that was given.

    ``defaults`` are the settings before anything was given, ``given`` the names of those that were. ``notice`` receives
    a sentence about each default that moves. If ``length_is_known`` is False, max_steps is not decided yet: whatever
    depends on it is left to ``agreed_on_length``.

    Raises InputError if settings contradict each other and moving a default would not help.
    """
    moved: dict[str, Any] = {}
    if config.tokenizer == "char" != defaults.tokenizer and "vocab_size" not in given:
        moved["vocab_size"] = None  # the default is a limit for byte pairs; a text may have more characters
    if _rises(config) and "min_lr" not in given:
        moved["min_lr"] = float(f"{config.lr * defaults.min_lr / defaults.lr:.3g}")
        notice(_moves("min_lr", config.min_lr, moved["min_lr"], f"the default is above lr {config.lr:g}"))
    settled = replace(config, **moved)
    if length_is_known:
        settled = agreed_on_length(settled, defaults, given, notice)
    check_agrees(settled)
    if "shards" in given and config.shards > config.batch_size:
        windows = config.batch_size
        notice(f"shards is {config.shards}, but a batch has only {windows} windows: it is cut into {windows}")
    return settled


def agreed_on_length(
    config: TrainConfig,
    defaults: TrainConfig,
    given: Collection[str],
    notice: Callable[[str], None] = lambda sentence: None,
) -> TrainConfig:
    """The settings whose warm-up and decays fit into max_steps; see ``agreed``.

    Raises InputError if a setting that was given does not fit, and max_steps was not given.
    """
    moved: dict[str, Any] = {}
    for name, matters, what in (
        ("warmup_steps", True, "the learning rate would never reach lr"),
        ("step_size", config.schedule == "step", "the learning rate would never decay"),
    ):
        steps = getattr(config, name)
        if not matters or steps < config.max_steps or steps == 0 or (name == "step_size" and config.max_steps == 1):
            continue
        because = f"with {config.max_steps:,} {'step' if config.max_steps == 1 else 'steps'} {what}"
        if name not in given:
            least = 0 if name == "warmup_steps" else 1
            moved[name] = max(least, config.max_steps * getattr(defaults, name) // defaults.max_steps)
            notice(_moves(name, steps, moved[name], because))
        elif "max_steps" not in given:
            raise InputError(f"{name} must be less than max_steps, {config.max_steps}, not {steps}: {what}")
        else:
            notice(f"{name} is {steps:,}: {because}")
    return replace(config, **moved)


def check_agrees(config: TrainConfig, changed: Collection[str] | None = None) -> None:
    """Raises InputError if settings contradict each other.

    With ``changed`` only the pairs of which one has changed are checked: a run that has begun keeps its settings.
    """
    if _rises(config) and (changed is None or {"lr", "min_lr", "schedule"} & set(changed)):
        raise InputError(
            f"min_lr must be at most lr, {config.lr:g}, not {config.min_lr:g}: the {config.schedule} schedule would "
            "rise; give a smaller min_lr or a larger lr"
        )


def without_effect(config: TrainConfig, given: Collection[str]) -> str | None:
    """A sentence about a setting that was given and that another setting makes useless; None if there is none."""
    for name, (other, values) in _ONLY_WITH.items():
        if name in given and getattr(config, other) not in values:
            *more, last = values
            needed = f"{', '.join(more)} or {last}" if more else last
            return f"{name} has no effect with {other} {getattr(config, other)}, only with {other} {needed}"
    if "cautious" in given and config.cautious and not config.weight_decay:
        return "cautious has no effect with weight_decay 0, only with weight decay"
    return None


def _rises(config: TrainConfig) -> bool:
    return config.schedule in _FALLS_TO_MIN_LR and config.min_lr > config.lr


def _moves(name: str, before: Any, after: Any, because: str) -> str:
    return f"{name} becomes {after:g} instead of {before:g}: {because}"
