"""Resuming a run: which settings may change, and whether it continues bit for bit."""

from collections.abc import Callable
from dataclasses import asdict

from handgrad.runs.checkpoint import read_progress
from handgrad.runs.config import TrainConfig
from handgrad.runs.directory import Run, save_settings
from handgrad.runs.environment import Environment, choose_replicas
from handgrad.runs.retention import checkpoints_of, load_intact
from handgrad.runs.tensorboard import check_can_write_events
from handgrad.system.errors import InputError
from handgrad.system.locks import locked

RESUMABLE = (
    "max_steps", "lr", "min_lr", "warmup_steps", "schedule", "step_size", "step_gamma", "grad_clip", "eval_interval",
    "checkpoint_interval", "keep", "log_interval", "sample_interval", "on_nan", "tensorboard",
)  # fmt: skip
"""Settings that may change on resume. The steps so far remain valid; only those to come differ."""


def resumed(
    run: Run,
    settings: TrainConfig | None = None,
    *,
    allow_inexact: bool = False,
    notice: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """The run, ready to continue in this process, with new settings if some are given. Updates its config.json.

    ``notice`` receives a sentence about each change. Raises InputError for a setting that cannot change. Raises it too
    if replicas, backend, libraries or processor differ, so that the run would not continue bit for bit, unless
    ``allow_inexact`` is true.
    """
    settings = settings or run.config
    check_can_write_events(settings)
    with locked(run.path, "trained") as stale:
        if stale is not None:
            notice(was_cut_off(run, stale))
        changed = _changed(run, settings)
        replicas = choose_replicas(settings.replicas, settings.batch_size) if "replicas" in changed else run.replicas
        environment = Environment.here(replicas)
        reasons = run.environment.differences(environment)
        if not changed and not reasons:
            return run
        begun = bool(checkpoints_of(run.path))
        step = load_intact(run.path, "last", read_progress)[0].step if begun else 0
        if settings.max_steps < step:
            raise InputError(f"{run.path} is already at step {step}; max_steps cannot be {settings.max_steps}")
        note = None
        if begun and reasons:
            note = {"step": step, "because": reasons}
            if not allow_inexact:
                raise InputError(f"{_not_exact(run, reasons)}. To continue anyway, add --allow-inexact")
            notice(_not_exact(run, reasons))
        if changed:
            notice(f"continuing with {', '.join(changed.values())}")
        return save_settings(run, settings, environment, note)


def was_cut_off(run: Run, holder: str) -> str:
    """The notice about a stale lock."""
    return f"the last training of {run.path}, by {holder}, was cut off; continuing from its last checkpoint"


def check_is_exact(run: Run) -> None:
    """Raises InputError if a run that has started would not continue bit for bit in this process."""
    reasons = run.environment.differences(Environment.here(run.replicas))
    if reasons:
        raise InputError(f"{_not_exact(run, reasons)}. To continue anyway, call resumed(run, allow_inexact=True)")


def _not_exact(run: Run, reasons: list[str]) -> str:
    return f"continuing {run.path} is not bit-exact, because {'; '.join(reasons)}"


def _changed(run: Run, settings: TrainConfig) -> dict[str, str]:
    """Each changed field with its old and new value, in words. Raises InputError for fields that cannot change."""
    before, after = asdict(run.config), asdict(settings)
    changed = {name: f"{name} {before[name]} → {after[name]}" for name in after if after[name] != before[name]}
    refused = [text for name, text in changed.items() if name not in (*RESUMABLE, "replicas")]
    if refused:
        raise InputError(
            f"these settings cannot change when {run.path} is resumed: {', '.join(refused)}; these can: "
            f"{', '.join(RESUMABLE)}, and replicas with --allow-inexact"
        )
    return changed
