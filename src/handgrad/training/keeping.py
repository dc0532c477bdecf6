"""Which checkpoints a run has, which ``last`` and ``best`` name, which stay, and which serve where one is damaged."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from handgrad.errors import InputError
from handgrad.files import flush_directory, write_atomically
from handgrad.models import GPT
from handgrad.optim import Optimizer
from handgrad.training.checkpoint import DamagedError, Progress, write_checkpoint

T = TypeVar("T")

POINTERS = ("last", "best")
_NAME = re.compile(r"step-(\d{8,18})(?:\.(\d{1,9}))?")
_DAMAGED = "damaged-"


def save_checkpoint(run: Path, model: GPT, optimizer: Optimizer, progress: Progress, keep: int = 2) -> str:
    """Writes a checkpoint, points ``last`` at it, and returns its name.

    Of those up to it the newest ``keep`` stay, and the one that ``best`` names: others go once it is safe.
    """
    directory = run / "checkpoints"
    directory.mkdir(exist_ok=True)
    name = _new_name(directory, progress.step)
    write_checkpoint(directory, name, model, optimizer, progress)
    point(run, "last", name, keep)
    return name


def point(run: Path, pointer: str, name: str, keep: int) -> None:
    """Makes ``last`` or ``best`` name a checkpoint, in one step, and removes those that no longer stay."""
    write_atomically(run / pointer, f"{name}\n".encode())
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


def read_pointer(run: Path, pointer: str) -> str | None:
    """The name of the checkpoint that ``last`` or ``best`` points at; None before there is one."""
    try:
        with (run / pointer).open("rb") as file:
            return file.read(1000).decode(errors="replace").strip() or None
    except (FileNotFoundError, IsADirectoryError):
        return None


def checkpoints_of(run: Path) -> list[str]:
    """The names of all checkpoints, the newest first; each was renamed whole."""
    directory = run / "checkpoints"
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    return sorted((name for name in names if _NAME.fullmatch(name)), key=_order, reverse=True)


def set_aside(run: Path, name: str) -> None:
    """Renames a damaged checkpoint, so that it counts as none and yet is not lost."""
    with contextlib.suppress(OSError):
        os.rename(run / "checkpoints" / name, run / "checkpoints" / f"{_DAMAGED}{name}")


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
    damaged = None
    for checkpoint in _candidates(run, wanted):
        try:
            loaded = load(checkpoint)
        except DamagedError as error:
            damaged = damaged or error
            notice(str(error))
        else:
            if damaged:
                notice(f"{checkpoint.name} is used instead")
            return loaded, checkpoint
    assert damaged is not None
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
