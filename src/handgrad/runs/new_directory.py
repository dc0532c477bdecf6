"""Making the directory of a run or a comparison completely; a half-made one counts as new."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from handgrad.system.errors import InputError
from handgrad.system.files import check_new_or_empty, flush_directory
from handgrad.system.locks import LOCK, is_a_lock, locked

_MARK = ".beginning.tmp"
"""Marks a directory that is being made. It is created right after the lock."""
_LAST = {"config.json": ("run", "train"), "comparison.json": ("comparison", "compare")}
"""The file that is written last, what it makes of a directory, and the command that resumes it."""


def check_is_free(path: Path) -> None:
    """Raises InputError if no new run or comparison can be made at ``path`` because something is there already."""
    for last, (what, command) in _LAST.items():
        if (path / last).exists():
            raise InputError(
                f"{path} already holds a {what}: continue it with {command} --resume {path}, or choose another --out"
            )
    if not is_unfinished(path):
        check_new_or_empty(path)


def is_unfinished(path: Path) -> bool:
    """Whether a directory holds only a half-made run or comparison, left by a process that was cut off."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    return (names == {LOCK} and is_a_lock(path / LOCK)) or (_MARK in names and names.isdisjoint(_LAST))


@contextlib.contextmanager
def making_directory(path: Path) -> Iterator[None]:
    """A context in which this process alone may fill the directory. An exception removes everything put there.

    Raises InputError if something is there already, or if another process is making the same directory.
    """
    check_is_free(path)
    existed = path.exists()
    path.mkdir(parents=True, exist_ok=True)
    with locked(path, "being made"):
        check_is_free(path)  # again, now that no other process can start
        _clear(path, keep=LOCK)
        (path / _MARK).touch()
        try:
            yield
            (path / _MARK).unlink()
            flush_directory(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # the exception that is being raised matters more
                _clear(path)
                if not existed:
                    path.rmdir()
            raise


def _clear(path: Path, keep: str | None = None) -> None:
    """Removes everything in the directory, the mark last."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == _MARK):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != keep:
            entry.unlink(missing_ok=True)
