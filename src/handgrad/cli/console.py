"""Where commands print, and what happens when nobody reads it."""

import contextlib
import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from rich.console import Console
from rich.text import Text

from handgrad.cli.terminal import printable, shown_as_text
from handgrad.system.backend_setting import current_backend
from handgrad.system.errors import InputError
from handgrad.system.processor import slow_blas_kernels


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader of our output has left, as in ``| head``: the command continues silently to its own exit code."""
        self.quiet = True

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints. Text may come from a file: on a terminal its escape codes are shown, not obeyed."""
        super().print(*(_harmless(each) if self.is_terminal else each for each in objects), **options)


def _harmless(shown: Any) -> Any:
    if isinstance(shown, str):
        return shown_as_text(shown)
    if isinstance(shown, Text) and shown_as_text(shown.plain) != shown.plain:
        return Text(shown_as_text(shown.plain), shown.style)
    return shown


class _Output(io.FileIO):
    """Output that may end early: the terminal closes, the reader of a pipe leaves, the disk of a log is full.

    From then on it drops what is written.
    """

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.ENOSPC, errno.EDQUOT):
                raise
            return len(content)


def outlive_the_output() -> None:
    """From now on the command continues even if its output can no longer be written."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # python -u has no buffer around it
        if not (isinstance(stream, io.TextIOWrapper) and isinstance(raw, io.FileIO)):
            continue  # a Python program has replaced the stream
        stream.flush()
        output = _Output(stream.fileno(), "w", closefd=False)
        wrapped = io.TextIOWrapper(
            output if raw is buffer else io.BufferedWriter(output),
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, wrapped)


def make_console(stderr: bool = False) -> Console:
    """A console that prints text as it is: it reads no markup and breaks no lines."""
    return _Console(highlight=False, markup=False, soft_wrap=True, stderr=stderr)


def standard_input() -> BinaryIO:
    """Raises InputError if it is closed, as for a program in the background, or a device such as /dev/zero."""
    if sys.stdin is None:
        raise InputError("standard input is closed; give a file, or a text through a pipe")
    found = os.fstat(sys.stdin.fileno()) if isinstance(sys.stdin.buffer, io.BufferedReader) else None
    endless = found is not None and stat.S_ISCHR(found.st_mode) and not sys.stdin.isatty()
    if found is not None and endless and found.st_rdev != os.stat(os.devnull).st_rdev:
        raise InputError("standard input is a device, which may never end; give a file, or a text through a pipe")
    return sys.stdin.buffer


@contextlib.contextmanager
def compiling_is_said(kernels: str = "the kernels") -> Iterator[None]:
    """While entered, says when kernels are compiled, which happens once on a machine and takes time."""
    if current_backend() != "numba":
        yield
        return
    from handgrad.system.compiling import told_when_compiling, where_kernels_are_kept

    def tell() -> None:
        place = where_kernels_are_kept()
        if place is None:
            say(f"handgrad: compiling {kernels} for this machine, once; this takes a few seconds")
        else:
            say(f"handgrad: compiling {kernels} for this machine; {place}")

    with told_when_compiling(tell):
        yield


def warn_of_slow_products() -> None:
    """Says if the environment makes NumPy multiply matrices slowly on this processor."""
    from handgrad.runs.environment import kernels_of_openblas

    slow = slow_blas_kernels(kernels_of_openblas())
    if slow is not None:
        warn(slow)


def warn(sentence: str) -> None:
    """Prints a warning on the error output; the command continues."""
    say(f"handgrad: warning: {sentence}")


def say(line: str) -> None:
    """Prints a line on the error output, if that can still be written.

    After Ctrl-C in ``handgrad train 2>&1 | tee log``, tee is gone.
    """
    with contextlib.suppress(OSError):
        print(printable(line, sys.stderr), file=sys.stderr, flush=True)


def counted(number: int, thing: str) -> str:
    """A number with its noun: 1 shard, 2 shards."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
