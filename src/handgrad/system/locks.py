"""One process at a time: a lock on a directory, which the system takes back from whoever dies."""

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

LOCK = "lock"
"""The name of the file in a locked directory that says by whom. It stays there, empty, when nobody holds the lock."""
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)

_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


@contextlib.contextmanager
def locked(directory: Path, what: str = "in use") -> Iterator[str | None]:
    """Holds the lock of a directory; where this thread holds it already, nothing is done.

    It is the directory itself that is locked, so that whoever removes the file removes only the name of the holder.

    Yields who held it before and ended without giving it back, in words: its lock is stale, and void. ``what`` is said
    of the directory to whoever comes second.

    Raises InputError where another process holds it, OSError where no file can be written there.
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
        _write(file, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")})
        token = _held.set(_held.get() | {place})
        try:
            yield stale
        finally:
            _held.reset(token)
            with contextlib.suppress(OSError):  # whatever ended us should be heard, not this
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
    """Only a file of the directory itself, for it is written over; a pipe would not open for ever."""
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
        raise InputError(f"{path} is no file of its own; remove it") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is no file of its own; remove it")
    return open(descriptor, "r+", encoding="utf-8", errors="replace")


def _holder(file: TextIOWrapper) -> str | None:
    """Who wrote the lock's file, in words; None where it is empty, or cannot be read."""
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
    """Whether the lock is ours now, until the stack is left. Raises InputError where the file system has no locks."""
    if os.name == "nt":
        import msvcrt

        os.lseek(file.fileno(), 1 << 30, os.SEEK_SET)  # beyond what is written, which would else be locked too
        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return True
        return False
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    reason = None
    for each in (descriptor, file.fileno()):  # network file systems lock files alone
        try:
            fcntl.flock(each, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            reason = error.strerror
        else:
            return True
    raise InputError(f"{directory} cannot be locked ({reason}): put the run on another disk")
