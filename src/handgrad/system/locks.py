"""One process at a time: a lock on a directory. The system releases it when the process that holds it dies."""

import contextlib
import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from handgrad.system.errors import InputError
from handgrad.system.files import naming

LOCK = "lock"
"""The name of the file in a locked directory that names the holder. It remains, empty, when nobody holds the lock."""
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)

_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


@contextlib.contextmanager
def locked(directory: Path, what: str = "in use") -> Iterator[str | None]:
    """Holds the lock of a directory; does nothing if this thread holds it already.

    The lock is on the directory itself: whoever removes the file removes only the holder's name.

    Yields a description of a process that held the lock and ended without releasing it (a stale lock), else None.
    ``what`` describes the directory in the error that a second process gets.

    Raises InputError if another process holds the lock, OSError if no file can be written there.
    """
    place = directory.resolve()
    if place in _held.get():
        yield None
        return
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open(directory / LOCK))
        if not _lock(directory, file, stack):
            raise InputError(f"{directory} is {what} by {_holder(file) or 'another process'}: wait for it, or stop it")
        stale = _holder(file)
        with naming(directory / LOCK):
            _write(
                file, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            )
        token = _held.set(_held.get() | {place})
        try:
            yield stale
        finally:
            _held.reset(token)
            with contextlib.suppress(OSError):  # it would hide the error that ended the block
                _write(file, None)


@contextlib.contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made if it is not there; waits while another process holds it.

    For what is as good without a lock: if the file system has none, or nothing can be written there, nobody waits.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, InputError):
            file = stack.enter_context(_open(path))
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def _open(path: Path) -> TextIOWrapper:
    """Opens the lock's file, which will be overwritten, so no links are followed. Does not hang on a pipe."""
    flags = (
        os.O_RDWR
        | os.O_CREAT
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise InputError(f"{path} is not a regular file; remove it") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a regular file; remove it")
    return open(descriptor, "r+", encoding="utf-8", errors="replace")


def is_a_lock(path: Path) -> bool:
    """Whether a file called ``lock`` is one that ``locked`` made: empty, or with the name of a holder."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1) == "" or _holder(file) is not None


def _holder(file: TextIOWrapper) -> str | None:
    """A description of who wrote the lock's file; None if it is empty or cannot be read."""
    try:
        file.seek(0)
        content = json.loads(file.read(1000))
        return f"process {int(content['pid'])} on {str(content['host'])[:80]} since {str(content['since'])[:30]}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def _write(file: TextIOWrapper, content: dict[str, Any] | None) -> None:
    file.seek(0)
    file.truncate()
    file.write("" if content is None else json.dumps(content) + "\n")
    file.flush()


def _lock(directory: Path, file: TextIOWrapper, stack: contextlib.ExitStack) -> bool:
    """Whether the lock is ours now, until the stack closes. Raises InputError if the file system has no locks."""
    if os.name == "nt":
        import msvcrt

        os.lseek(file.fileno(), 1 << 30, os.SEEK_SET)  # beyond the content, which others must be able to read
        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return True
        return False
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    reason = None
    for each in (descriptor, file.fileno()):  # network file systems may lock files only
        try:
            fcntl.flock(each, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            reason = error.strerror
        else:
            return True
    raise InputError(f"{directory} cannot be locked ({reason}): put the run on another disk")
