"""Which checkpoints a run has, which ``last`` and ``best`` name, which are kept, and which replace a damaged one."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from handgrad.models import LanguageModel
from handgrad.models.formats.model_in_checkpoint import damaged_by, read_pointer
from handgrad.optim import Optimizer, WeightAverage
from handgrad.runs.checkpoint import Progress, write_checkpoint
from handgrad.system.errors import DamagedError, InputError
from handgrad.system.files import check_is_no_link, flush_directory, write_atomically

T = TypeVar("T")

POINTERS = ("last", "best")
_NAME = re.compile(r"step-(\d{8,18})(?:\.(\d{1,9}))?")
_DAMAGED = "damaged-"
_TRIES = 100


def save_checkpoint(
    run: Path,
    model: LanguageModel,
    optimizer: Optimizer,
    progress: Progress,
    average: WeightAverage | None = None,
    state: Mapping[str, Any] | None = None,
) -> str:
    """Writes a checkpoint, points ``last`` at it, and returns its name. For ``state`` see ``write_checkpoint``."""
    directory = run / "checkpoints"
    check_is_no_link(directory)
    directory.mkdir(exist_ok=True)
    name = _new_name(directory, progress.step)
    write_checkpoint(directory, name, model, optimizer, progress, average, state)
    set_pointer(run, "last", name)
    return name


def set_pointer(run: Path, pointer: str, name: str) -> None:
    """Points ``last`` or ``best`` at a checkpoint, in one step."""
    write_atomically(run / pointer, f"{name}\n".encode())


def prune(run: Path, keep: int) -> None:
    """Keeps the newest ``keep`` checkpoints up to ``last`` and the one that ``best`` names, and removes the others.

    Checkpoints after ``last`` come from a process that ended before it could update ``last``; training repeats them.
    """
    check_is_no_link(run / "checkpoints")
    last, best = (read_pointer(run, pointer) for pointer in POINTERS)
    named = checkpoints_of(run)
    kept = {best, *(named if last not in named else [name for name in named if _order(name) <= _order(last)][:keep])}
    for name in named:
        if name not in kept:
            # Renamed first: a half-removed checkpoint would look like a damaged one.
            leaving = run / "checkpoints" / f".{name}.{os.getpid()}.tmp"
            with contextlib.suppress(OSError):
                os.rename(run / "checkpoints" / name, leaving)
            shutil.rmtree(leaving, ignore_errors=True)


def checkpoints_of(run: Path) -> list[str]:
    """The names of all checkpoints, newest first."""
    directory = run / "checkpoints"
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    return sorted((name for name in names if _NAME.fullmatch(name)), key=_order, reverse=True)


def set_aside(run: Path, name: str) -> None:
    """Renames a damaged checkpoint, so that it no longer counts as one but is not lost."""
    directory, number = run / "checkpoints", 0
    aside = directory / f"{_DAMAGED}{name}"
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = directory / f"{_DAMAGED}{name}-{number}"
    os.rename(directory / name, aside)
    flush_directory(directory)


def check_has_no_links(run: Path) -> None:
    """Raises InputError if a part of a run in which something is deleted or appended is a link to elsewhere."""
    for name in ("checkpoints", "data", "tensorboard", "metrics.jsonl", "runs"):  # the last is a comparison's
        check_is_no_link(run / name)


def clear_leftovers(run: Path) -> None:
    """Removes files that an ended process left half-written. Only the process that holds the run's lock may call it.

    Raises InputError if a part of the run is a link.
    """
    check_has_no_links(run)
    for directory in (run, run / "checkpoints", run / "data"):
        for entry in directory.glob(".*.tmp") if directory.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    if (run / "checkpoints").is_dir():
        flush_directory(run / "checkpoints")


def find_checkpoint(run: Path, wanted: str = "best") -> Path:
    """The directory of ``best``, ``last`` or a checkpoint by its name. Its files are not read.

    If ``best`` is missing, this is ``last``; if that is missing too, the newest checkpoint.

    Raises InputError if there is none.
    """
    if wanted not in POINTERS:
        if wanted not in checkpoints_of(run):
            raise InputError(f"{run} has no checkpoint {wanted[:80]!r}")
        return run / "checkpoints" / wanted
    return next(_candidates(run, wanted))


def load_intact(
    run: Path, wanted: str, load: Callable[[Path], T], notice: Callable[[str], None] = lambda sentence: None
) -> tuple[T, Path]:
    """What ``load`` returns for a checkpoint, and the checkpoint's directory.

    If ``best`` or ``last`` is damaged, the newest intact checkpoint before it is used; if there is none, the first
    after it. ``notice`` receives a sentence about each damaged one.

    Raises InputError if there is no checkpoint, if all are damaged, or if one requested by its name is damaged.
    """
    if wanted not in POINTERS:
        checkpoint = find_checkpoint(run, wanted)
        return load(checkpoint), checkpoint
    for _ in range(_TRIES):
        with contextlib.suppress(_GoneError):
            return _first_intact(run, wanted, load, notice)
    raise InputError(f"the checkpoints of {run} are replaced faster than they can be read; try again")


class _GoneError(Exception):
    """The training process removed a checkpoint while it was being read. The pointers name another now."""


def _first_intact(run: Path, wanted: str, load: Callable[[Path], T], notice: Callable[[str], None]) -> tuple[T, Path]:
    damaged = None
    for checkpoint in _candidates(run, wanted):
        try:
            loaded = load(checkpoint)
        except (InputError, OSError) as error:
            if not checkpoint.is_dir():
                raise _GoneError from None
            found = damaged_by(error, checkpoint) if isinstance(error, OSError) else error
            if not isinstance(found, DamagedError):
                raise
            damaged = damaged or found
            notice(str(found))
        else:
            if damaged:
                notice(f"using {checkpoint.name} instead")
            return loaded, checkpoint
    raise InputError(f"no checkpoint of {run} is intact: {damaged}")


def _candidates(run: Path, wanted: str) -> Iterator[Path]:
    """The wanted checkpoint, then those before it, newest first, then those after it, oldest first.

    Raises InputError if there is none.
    """
    names = checkpoints_of(run)
    if not names:
        raise InputError(f"{run} has no checkpoint yet")
    pointed = (read_pointer(run, pointer) for pointer in dict.fromkeys((wanted, "last")))
    first = next((name for name in pointed if name in names), names[0])
    place = names.index(first)
    yield from (run / "checkpoints" / name for name in [*names[place:], *reversed(names[:place])])


def step_of(name: str) -> int:
    """The step in a checkpoint's name."""
    return _order(name)[0]


def _order(name: str | None) -> tuple[int, int]:
    """The sort key of a name: its step, then its number among checkpoints of the same step."""
    found = _NAME.fullmatch(name or "")
    return (int(found[1]), int(found[2] or 0)) if found else (-1, 0)


def _new_name(directory: Path, step: int) -> str:
    """step-00000500 or, if that exists, step-00000500.1 and so on."""
    name, number = f"step-{step:08d}", 1
    while (directory / name).exists():
        name, number = f"step-{step:08d}.{number}", number + 1
    return name
