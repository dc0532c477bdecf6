"""Where commands print."""

import contextlib
import errno
import io
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from rich.console import Console

from handgrad.system.backend_setting import current_backend
from handgrad.system.errors import InputError


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Whoever read our output has left, as in ``| head``: the work goes on, quietly, to its own exit code."""
        self.quiet = True


class _Output(io.FileIO):
    """Output that may come to an end: the terminal closes, the pipe's reader leaves, the log's disk is full.

    What is written then goes nowhere.
    """

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.ENOSPC, errno.EDQUOT):
                raise
            return len(content)


def outlive_the_output() -> None:
    """From now on a command goes on, where it was told to, though what it prints can no longer be written."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # with python -u there is no buffer before it
        if not (isinstance(stream, io.TextIOWrapper) and isinstance(raw, io.FileIO)):
            continue  # what Python programs put in its place
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
    """Prints text as it is: nothing in it is markup, and lines are as long as they are."""
    return _Console(highlight=False, markup=False, soft_wrap=True, stderr=stderr)


def standard_input() -> BinaryIO:
    """Raises InputError where it is closed, as for what runs in the background."""
    if sys.stdin is None:
        raise InputError("standard input is closed; give a file, or a text through a pipe")
    return sys.stdin.buffer


@contextlib.contextmanager
def compiling_is_said() -> Iterator[None]:
    """While kernels are compiled, which happens once on a machine, the user is told what takes so long."""
    if current_backend() != "numba":
        yield
        return
    from handgrad.system.compiling import told_when_compiling

    def tell() -> None:
        say("handgrad: compiling the kernels for this machine, once; this takes a few seconds")

    with told_when_compiling(tell):
        yield


def warn(sentence: str) -> None:
    """Says on the error output what the user should know; the command goes on."""
    say(f"handgrad: warning: {sentence}")


def say(line: str) -> None:
    """On the error output, if anybody still reads it: after Ctrl-C in ``handgrad train 2>&1 | tee log`` tee is gone."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)
