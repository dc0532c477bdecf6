"""Resuming a run: which settings may change, and whether it continues bit for bit."""

import math
import shlex
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path

from handgrad.models.formats.model_in_checkpoint import check_size
from handgrad.runs.agreement import check_agrees
from handgrad.runs.checkpoint import Progress, read_progress
from handgrad.runs.config import GIVEN_BY_WEIGHTS, TrainConfig
from handgrad.runs.directory import Run, open_run, save_settings
from handgrad.runs.environment import Environment, choose_shards
from handgrad.runs.metrics import read_metrics
from handgrad.runs.retention import check_has_no_links, checkpoints_of, load_intact
from handgrad.runs.tensorboard import check_can_write_events
from handgrad.system.errors import InputError
from handgrad.system.files import read_file
from handgrad.system.locks import locked

RESUMABLE = (
    "max_steps", "lr", "min_lr", "muon_lr", "warmup_steps", "schedule", "step_size", "step_gamma", "decay_fraction",
    "decay_shape", "grad_clip", "eval_interval", "checkpoint_interval", "keep", "log_interval", "sample_interval",
    "on_nan", "tensorboard", "replicas",
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
    if backend, libraries or processor differ, so that the run would not continue bit for bit, unless
    ``allow_inexact`` is true. A resume that is refused has changed nothing: everything is checked before config.json is
    written.
    """
    settings = settings or run.config
    check_can_write_events(settings)
    with locked(run.path, "trained") as stale:
        if stale is not None:
            notice(was_cut_off(run, stale))
        changed = _changed(run, settings)
        reasons = run.differences_here()
        moved = run.data_directory != open_run(run.path).data_directory
        if not changed and not reasons and not moved:
            return run
        check_agrees(settings, changed)
        begun = bool(checkpoints_of(run.path))
        step = _check_files(run).step
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
            _say_how_the_rate_changes(run.config, settings, step, notice)
        if moved:
            notice(f"the token files are now in {run.data_directory}")
        return save_settings(run, settings, Environment.here(run.shards), note)


def was_cut_off(run: Run, holder: str) -> str:
    """The notice about a stale lock."""
    return f"the last training of {run.path}, by {holder}, was cut off; continuing from its last checkpoint"


def check_is_not_lost(run: Run) -> None:
    """Raises InputError if a run has been trained and has no checkpoint: it would begin anew, over its metrics."""
    if not checkpoints_of(run.path) and run.metrics_path.exists() and read_metrics(run.metrics_path):
        raise InputError(f"{run.path} has metrics but no checkpoint to resume from; start a new run with --out")


def _check_files(run: Run) -> Progress:
    """The progress of the last intact checkpoint. Raises InputError if a file would keep the run from continuing."""
    check_has_no_links(run.path)
    check_is_not_lost(run)
    run.data().check_content()
    if run.metrics_path.exists():
        read_file(run.metrics_path)
    if not checkpoints_of(run.path):
        return Progress()

    def load(checkpoint: Path) -> Progress:
        progress = read_progress(checkpoint)
        check_size(checkpoint, run.model_config)
        return progress

    return load_intact(run.path, "last", load)[0]


def _say_how_the_rate_changes(
    before: TrainConfig, after: TrainConfig, step: int, notice: Callable[[str], None]
) -> None:
    """The schedule is a function of all steps, so more of them change the rate of the next one."""
    was, now = before.make_schedule()(step), after.make_schedule()(step)
    if 0 < step < after.max_steps and not math.isclose(was, now, rel_tol=1e-3):
        notice(f"the learning rate of step {step + 1:,} is now {now:.2e}; without the change it would be {was:.2e}")


def check_is_exact(run: Run) -> None:
    """Raises InputError if a run that has started would not continue bit for bit in this process."""
    reasons = run.differences_here()
    if reasons:
        raise InputError(f"{_not_exact(run, reasons)}. To continue anyway, call resumed(run, allow_inexact=True)")


def _not_exact(run: Run, reasons: list[str]) -> str:
    return f"continuing {run.path} is not bit-exact, because {'; '.join(reasons)}"


def _changed(run: Run, settings: TrainConfig) -> dict[str, str]:
    """Each changed field with its old and new value, in words. Raises InputError for fields that cannot change."""
    before, after = asdict(run.config), asdict(settings)
    changed = {name: f"{name} {before[name]} → {after[name]}" for name in after if after[name] != before[name]}
    if choose_shards(settings.shards or run.shards, settings.batch_size) == run.shards:
        changed.pop("shards", None)  # 0 has chosen the number that is now given, or the other way round
    refused = [text for name, text in changed.items() if name not in RESUMABLE]
    if refused:
        raise InputError(
            f"these settings cannot change when {run.path} is resumed: {', '.join(refused)}; these can: "
            f"{', '.join(RESUMABLE)}; {_another_way(run, changed)}"
        )
    return changed


def _another_way(run: Run, changed: Collection[str]) -> str:
    """How to get what a resume refuses."""
    fixed = [name for name in GIVEN_BY_WEIGHTS if name in changed]
    if fixed:
        return f"{', '.join(fixed)} cannot change without new weights: start a new run, without --resume"
    return f"a new run from its weights, with these settings: --init-from {shlex.quote(str(run.path))}"
