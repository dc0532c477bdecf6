"""Going on with a run: which settings may be others, and whether its bits will be those it would have had."""

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
"""What may change on resume: the run is no longer the one it would have been, but no part of it is undone."""


def resumed(
    run: Run,
    settings: TrainConfig | None = None,
    *,
    allow_inexact: bool = False,
    notice: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """The run, ready to go on in this process, with other settings where some are given; its config.json says so.

    ``notice`` is told what is different. Raises InputError for a setting that cannot change, by name; and where the
    replicas, the backend, a library or the processor is another, so that it would not go on bit for bit, unless
    ``allow_inexact``.
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
            raise InputError(f"{run.path} stands at step {step} already; max_steps cannot be {settings.max_steps}")
        note = None
        if begun and reasons:
            note = {"step": step, "because": reasons}
            because = f"going on with {run.path} is not bit-exact, because {'; '.join(reasons)}"
            if not allow_inexact:
                raise InputError(f"{because}. It can go on all the same, as another run than it was: --allow-inexact")
            notice(because)
        if changed:
            notice(f"going on with {', '.join(changed.values())}")
        return save_settings(run, settings, environment, note)


def was_cut_off(run: Run, holder: str) -> str:
    """What to say of a lock that is stale."""
    return f"the last to train {run.path}, {holder}, was cut off; going on from its last checkpoint"


def check_is_exact(run: Run) -> None:
    """Raises InputError where a run that has begun would not go on bit for bit in this process."""
    reasons = run.environment.differences(Environment.here(run.replicas))
    if reasons:
        raise InputError(
            f"going on with {run.path} is not bit-exact, because {'; '.join(reasons)}. It can go on all the same, as "
            "another run than it was: resumed(run, allow_inexact=True)"
        )


def _changed(run: Run, settings: TrainConfig) -> dict[str, str]:
    """What each field that is another was and is. Raises InputError for those that cannot change."""
    before, after = asdict(run.config), asdict(settings)
    changed = {name: f"{name} {before[name]} → {after[name]}" for name in after if after[name] != before[name]}
    refused = [text for name, text in changed.items() if name not in (*RESUMABLE, "replicas")]
    if refused:
        raise InputError(
            f"{', '.join(refused)}: this cannot change on resume of {run.path}; these can: {', '.join(RESUMABLE)}; "
            "and replicas, with --allow-inexact"
        )
    return changed
