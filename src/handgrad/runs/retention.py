"""Which checkpoints a run has, which ``last`` and ``best`` name, which stay, and which serve where one is damaged."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from handgrad.models import LanguageModel
from handgrad.models.formats.model_in_checkpoint import DamagedError, read_pointer
from handgrad.optim import Optimizer
from handgrad.runs.checkpoint import Progress, write_checkpoint
from handgrad.system.errors import InputError
from handgrad.system.files import flush_directory, write_atomically

T = TypeVar("T")

POINTERS = ("last", "best")
_NAME = re.compile(r"step-(\d{8,18})(?:\.(\d{1,9}))?")
_DAMAGED = "damaged-"
_TRIES = 100


def save_checkpoint(run: Path, model: LanguageModel, optimizer: Optimizer, progress: Progress) -> str:
    """Writes a checkpoint, points ``last`` at it, and returns its name."""
    directory = run / "checkpoints"
    directory.mkdir(exist_ok=True)
    name = _new_name(directory, progress.step)
    write_checkpoint(directory, name, model, optimizer, progress)
    set_pointer(run, "last", name)
    return name


def set_pointer(run: Path, pointer: str, name: str) -> None:
    """Makes ``last`` or ``best`` name a checkpoint, in one step."""
    write_atomically(run / pointer, f"{name}\n".encode())


def prune(run: Path, keep: int) -> None:
    """Removes checkpoints, but for the newest ``keep`` of those up to ``last``, and the one that ``best`` names.

    Those after ``last`` were made by a process that was ended before it could say so, and will be made once more.
    """
    last, best = (read_pointer(run, pointer) for pointer in POINTERS)
    named = checkpoints_of(run)
    kept = {best, *(named if last not in named else [name for name in named if _order(name) <= _order(last)][:keep])}
    for name in named:
        if name not in kept:
            # Renamed first: one that is half removed would else be taken for a damaged one.
            leaving = run / "checkpoints" / f".{name}.{os.getpid()}.tmp"
            with contextlib.suppress(OSError):
                os.rename(run / "checkpoints" / name, leaving)
            shutil.rmtree(leaving, ignore_errors=True)


def checkpoints_of(run: Path) -> list[str]:
    """The names of all checkpoints, the newest first; each was renamed whole."""
    directory = run / "checkpoints"
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    return sorted((name for name in names if _NAME.fullmatch(name)), key=_order, reverse=True)


def set_aside(run: Path, name: str) -> None:
    """Renames a damaged checkpoint, so that it counts as none and yet is not lost."""
    directory, number = run / "checkpoints", 0
    aside = directory / f"{_DAMAGED}{name}"
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = directory / f"{_DAMAGED}{name}-{number}"
    os.rename(directory / name, aside)
    flush_directory(directory)


def clear_leftovers(run: Path) -> None:
    """Removes what a process left half-written when it was ended. Only whoever holds the run's lock may ask for it."""
    for directory in (run, run / "checkpoints", run / "data"):
        for entry in directory.glob(".*.tmp") if directory.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    if (run / "checkpoints").is_dir():
        flush_directory(run / "checkpoints")


def find_checkpoint(run: Path, wanted: str = "best") -> Path:
    """The directory of ``best``, ``last`` or a checkpoint's own name, as it is: nothing of it is read.

    Where ``best`` is not there ``last`` serves, and where that is lost the newest.

    Raises InputError where there is none.
    """
    if wanted not in POINTERS:
        if wanted not in checkpoints_of(run):
            raise InputError(f"{run} has no checkpoint {wanted[:80]!r}")
        return run / "checkpoints" / wanted
    return next(_candidates(run, wanted))


def load_intact(
    run: Path, wanted: str, load: Callable[[Path], T], notice: Callable[[str], None] = lambda sentence: None
) -> tuple[T, Path]:
    """What ``load`` makes of a checkpoint, and its directory: of ``best`` or ``last`` or, where that is damaged, which
    ``notice`` is told, of the one before; where no earlier one is intact, of the next.

    Raises InputError where there is none, where all are damaged, or where one that was asked for by its name is.
    """
    if wanted not in POINTERS:
        checkpoint = find_checkpoint(run, wanted)
        return load(checkpoint), checkpoint
    for _ in range(_TRIES):
        with contextlib.suppress(_GoneError):
            return _first_intact(run, wanted, load, notice)
    raise InputError(f"the checkpoints of {run} are replaced faster than they can be read; try once more")


class _GoneError(Exception):
    """A checkpoint was removed while it was read, by the process that trains: the pointers name another now."""


def _first_intact(run: Path, wanted: str, load: Callable[[Path], T], notice: Callable[[str], None]) -> tuple[T, Path]:
    damaged = None
    for checkpoint in _candidates(run, wanted):
        try:
            loaded = load(checkpoint)
        except (InputError, OSError) as error:
            if not checkpoint.is_dir():
                raise _GoneError from None
            if not isinstance(error, DamagedError):
                raise
            damaged = damaged or error
            notice(str(error))
        else:
            if damaged:
                notice(f"{checkpoint.name} is used instead")
            return loaded, checkpoint
    raise InputError(f"no checkpoint of {run} is intact: {damaged}")


def _candidates(run: Path, wanted: str) -> Iterator[Path]:
    """The checkpoint that is wanted, then those before it, the newest first, then those after it.

    Raises InputError where there is none.
    """
    names = checkpoints_of(run)
    if not names:
        raise InputError(f"{run} has no checkpoint yet")
    pointed = (read_pointer(run, pointer) for pointer in dict.fromkeys((wanted, "last")))
    first = next((name for name in pointed if name in names), names[0])
    place = names.index(first)
    yield from (run / "checkpoints" / name for name in [*names[place:], *reversed(names[:place])])


def step_of(name: str) -> int:
    """The step that a checkpoint's name says."""
    return _order(name)[0]


def _order(name: str | None) -> tuple[int, int]:
    """By steps; of several of one step by their number."""
    found = _NAME.fullmatch(name or "")
    return (int(found[1]), int(found[2] or 0)) if found else (-1, 0)


def _new_name(directory: Path, step: int) -> str:
    """step-00000500, or, where that exists, step-00000500.1 and so on."""
    name, number = f"step-{step:08d}", 1
    while (directory / name).exists():
        name, number = f"step-{step:08d}.{number}", number + 1
    return name
