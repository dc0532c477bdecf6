"""The command line with a fault at its Nth change to the disk: ``python saboteur.py FAULT N DIRECTORY ARGUMENTS...``

A change is anything that may leave a directory half-written: opening a file to write, flushing it to the disk,
renaming, removing, making and removing a directory. FAULT is

    count       none; prints the number of changes at the end
    kill        SIGKILL instead of the change
    tear        SIGKILL, after half of what was added to a file is lost, as when the power fails
    full        from then on no space is left for files, and half of what was just written is lost
    readonly    from then on nothing can be changed
    countreads  none; prints the number of files opened for reading
    badread     the reads of the Nth file that is opened for reading fail (EIO), without a name
"""

import builtins
import errno
import io
import os
import signal
import stat
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from handgrad.cli.main import main

FAULTS = ("kill", "tear", "full", "readonly")
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}
_IN_A_DIRECTORY = {"os.remove", "os.rmdir"}
_FREE_SPACE = {"os.remove", "os.rmdir", "os.rename", "os.truncate"}


class Saboteur:
    """Counts the changes below a directory and makes one fail."""

    def __init__(self, fault: str, number: int, directory: str) -> None:
        self.fault, self.number, self.directory = fault, number, os.path.realpath(directory)
        self.count = 0
        self.flushed: dict[int, int] = {}
        """Bytes of each file that were flushed and so survive."""
        self.fsync: Callable[[int], None] = os.fsync

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: Python calls it before each operation on files."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in _CHANGES:
            path = arguments[0]
            if (
                isinstance(path, str)
                and isinstance(arguments[-1], int)
                and arguments[-1] >= 0
                and event in _IN_A_DIRECTORY
            ):
                path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[-1]}"), path)  # as in shutil.rmtree
        else:
            return
        if isinstance(path, str | bytes | os.PathLike):
            self.change(event, os.fsdecode(path))

    def synced(self, descriptor: int) -> None:
        """Replaces os.fsync, which is not audited."""
        path = os.readlink(f"/proc/self/fd/{descriptor}") if os.path.exists("/proc/self/fd") else self.directory
        found = os.fstat(descriptor)
        safe = self.flushed.get(found.st_ino, 0)
        is_next = self.count + 1 == self.number and self.is_inside(path)
        if self.fault in ("tear", "full") and is_next and stat.S_ISREG(found.st_mode):
            os.truncate(path, safe + (found.st_size - safe) // 2)
        self.change("os.fsync", path)
        self.fsync(descriptor)
        self.flushed[found.st_ino] = found.st_size

    def change(self, event: str, path: str) -> None:
        if not self.is_inside(path):
            return
        self.count += 1
        if self.count < self.number or self.fault == "count":
            return
        if self.fault in ("kill", "tear"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "readonly":
            refuse(errno.EROFS, path)
        if event not in _FREE_SPACE:
            refuse(errno.ENOSPC, path)

    def is_inside(self, path: str) -> bool:
        """Whether it is the directory, or lies below it."""
        parent = os.path.join(os.path.realpath(os.path.dirname(path)), "")
        return parent.startswith(os.path.join(self.directory, "")) or os.path.realpath(path) == self.directory


class BadFile(io.RawIOBase):
    """A file of which nothing can be read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class BadReads:
    """Counts the files below a directory that are opened for reading, and makes the reads of one fail."""

    def __init__(self, number: int, directory: str) -> None:
        self.number, self.directory = number, os.path.join(os.path.realpath(directory), "")
        self.count = 0
        self.opened = io.open
        io.open = self.open  # type: ignore[assignment]
        builtins.open = self.open  # type: ignore[assignment]

    def open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        reads = mode.startswith("r") and "+" not in mode and isinstance(file, str | os.PathLike)
        if reads and os.path.realpath(os.fspath(file)).startswith(self.directory) and os.path.exists(file):
            self.count += 1
            if self.count == self.number:
                buffered = io.BufferedReader(BadFile())
                return buffered if "b" in mode else io.TextIOWrapper(buffered)
        return self.opened(file, mode, *arguments, **options)


def refuse(number: int, path: str) -> NoReturn:
    raise OSError(number, os.strerror(number), path)


if __name__ == "__main__":
    fault, number, directory, *arguments = sys.argv[1:]
    if fault in ("badread", "countreads"):
        reads = BadReads(int(number), directory)
        code = main(arguments)
        if fault == "countreads":
            print(f"reads: {reads.count}")
        sys.exit(code)
    saboteur = Saboteur(fault, int(number), directory)
    os.fsync = saboteur.synced
    sys.addaudithook(saboteur.audit)
    code = main(arguments)
    if fault == "count":
        print(f"changes: {saboteur.count}")
    sys.exit(code)
