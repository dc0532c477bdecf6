"""A directory that is laid out whole; one that was cut off while it was is taken for a new one."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from handgrad.system.errors import InputError
from handgrad.system.files import check_new_or_empty, flush_directory
from handgrad.system.locks import LOCK, locked

_MARK = ".beginning.tmp"
"""Is in a directory, after the lock and before all else, while it is laid out."""
_LAST = {"config.json": ("run", "train"), "comparison.json": ("comparison", "compare")}
"""What is written last, without which there is no run or comparison yet; and the command that goes on with it."""


def check_is_free(path: Path) -> None:
    """Raises InputError where no new run or comparison can be put because something is there already."""
    for last, (what, command) in _LAST.items():
        if (path / last).exists():
            raise InputError(
                f"{path} already holds a {what}: continue it with {command} --resume {path}, or choose another --out"
            )
    if not is_unfinished(path):
        check_new_or_empty(path)


def is_unfinished(path: Path) -> bool:
    """Whether nothing is there but what had been laid out of a run or a comparison when that was cut off."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    return names == {LOCK} or (_MARK in names and names.isdisjoint(_LAST))


@contextlib.contextmanager
def making_directory(path: Path) -> Iterator[None]:
    """While entered, the directory is this process's to fill; what is raised takes away all that was put there.

    Raises InputError where something is there already, or another process is about to lay out one there.
    """
    check_is_free(path)
    existed = path.exists()
    path.mkdir(parents=True, exist_ok=True)
    with locked(path, "being made"):
        check_is_free(path)  # once more, now that nobody else can begin
        _clear(path, keep=LOCK)
        (path / _MARK).touch()
        try:
            yield
            (path / _MARK).unlink()
            flush_directory(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # what ended us should be heard
                _clear(path)
                if not existed:
                    path.rmdir()
            raise


def _clear(path: Path, keep: str | None = None) -> None:
    """Takes away what is there, the mark of a beginning last."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == _MARK):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != keep:
            entry.unlink(missing_ok=True)
