"""One process at a time: a lock on a directory, which the system takes back from whoever dies."""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from handgrad.errors import InputError

LOCK = "lock"
"""The name of the lock's file in its directory. It stays there, empty, when nobody holds the lock."""

_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


@contextlib.contextmanager
def the_only_one(directory: Path, what: str = "in use") -> Iterator[str | None]:
    """Holds the lock of a directory; where this thread holds it already, nothing is done.

    Yields who held it before and ended without giving it back, in words: its lock is stale, and void. ``what`` is said
    of the directory to whoever comes second.

    Raises InputError where another process holds it, OSError where no file can be written there.
    """
    place = directory.resolve()
    if place in _held.get():
        yield None
        return
    with (directory / LOCK).open("a+", encoding="utf-8", errors="replace") as file:
        if not _lock(file):
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


def _holder(file: TextIOWrapper) -> str | None:
    """Who wrote the lock's file, in words; None where it is empty, or cannot be read."""
    try:
        file.seek(0)
        content = json.loads(file.read(1000))
        return f"process {int(content['pid'])} on {str(content['host'])[:80]} since {str(content['since'])[:30]}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _write(file: TextIOWrapper, content: dict[str, Any] | None) -> None:
    file.seek(0)
    file.truncate()
    file.write("" if content is None else json.dumps(content) + "\n")
    file.flush()


def _lock(file: TextIOWrapper) -> bool:
    """Whether the lock is ours now. Raises InputError where the file system has no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(1 << 30)  # beyond what is written, which would else be locked too
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK):
            return False
        raise InputError(f"{file.name} cannot be locked ({error.strerror}): put the run on another disk") from None
    return True
