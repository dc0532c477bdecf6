"""The command line: finds the command, runs it, and turns an error into one sentence and an exit code."""

import contextlib
import errno
import io
import os
import sys
import traceback
import warnings
from importlib import import_module

from handgrad.cli.suggestions import command_like
from handgrad.cli.terminal import printable
from handgrad.system.errors import InputError
from handgrad.system.processes import EndedError, connected, place_among_processes
from handgrad.system.processor import choose_blas_kernels
from handgrad.system.version import __version__

COMMANDS = {
    "train": "train a GPT on a text, or resume a run",
    "sample": "write text with a trained model",
    "eval": "loss, perplexity and bits per character of a text",
    "plot": "draw the curves of one run or several",
    "prepare": "turn texts into token files to train on",
    "tokenize": "show a text coloured by its tokens",
    "compare": "one text under several tokenizers, or several recipes, as a table",
    "speedrun": "train to a loss in the least time, by the recipe of a record",
    "bench": "time handgrad beside PyTorch and JAX, and show where a step's time goes",
    "check": "prove every gradient on this machine",
}
_FILES = {"eval": "evaluate"}  # the command's own name would hide a Python built-in

_DISTRIBUTIONS = {"PIL": "pillow", "google": "protobuf"}
"""The names under which packages are installed, if they differ from those under which they are imported."""
_NO_THREAD = "can't start new thread"
_OF_THE_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""Errors of writing. Those of files have names, so that one without a name is about what is printed."""
_OF_NUMPY = ("overflow", "underflow", "invalid value", "divide by zero")

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 fine, 1 failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    replace_closed_streams()
    warnings.showwarning = _show_warning
    for what in _OF_NUMPY:  # what is not finite is noticed and said by the commands
        warnings.filterwarnings("ignore", f"{what} encountered", RuntimeWarning)
    choose_blas_kernels()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    if argv[:1] != ["train"] and not _is_the_one(argv):
        return OK
    return _ended_by_all(argv)


def _is_the_one(argv: list[str]) -> bool:
    """Whether this process does what a command does that works in one process, although mpiexec started several."""
    rank, size = place_among_processes()
    if size > 1 and rank == 0 and argv[:1] and argv[0] in COMMANDS:
        report(f"warning: {argv[0]} works in one process; the others of the {size:,} that mpiexec started end", OK)
    return rank == 0


def _ended_by_all(argv: list[str]) -> int:
    """The exit code. If several processes train, and this one fails by itself, it ends the others."""
    try:
        code = _flushed(_run(argv))
    except BaseException:
        together = connected()
        if together is None or together.parted:
            raise
        together.hold_back()
        traceback.print_exc()
        together.end(FAILED)
    together = connected()
    if together is not None:
        if not together.parted:
            together.end(code or FAILED)
        if not together.is_first:
            return OK  # the code of process 0 becomes that of mpiexec
    return code


def _run(argv: list[str]) -> int:
    try:
        return _dispatch(argv)
    except EndedError:
        return OK
    except BrokenPipeError:
        return OK  # the reader of our output has left, as in `handgrad sample RUN | head`: not an error
    except InputError as error:
        return report(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        return report("interrupted", INTERRUPTED)
    except MemoryError as error:
        return report(f"out of memory: {error}" if str(error) else "out of memory", BAD_INPUT)
    except OSError as error:
        where = error.filename or ("the output" if error.errno in _OF_THE_OUTPUT else None)
        return report(f"{where}: {error.strerror or error}" if where else f"{error.strerror or error}", BAD_INPUT)
    except RuntimeError as error:
        if _NO_THREAD not in str(error):
            raise
        return report("the system starts no more threads (ulimit -u, or the limit of a container)", BAD_INPUT)
    except SystemError as error:  # a library that was loaded without memory for it
        return report(f"a library failed, most likely for lack of memory: {error}", BAD_INPUT)
    except ImportError as error:
        if (error.name or "").startswith("handgrad"):
            raise
        return report(_not_imported(error), BAD_INPUT)


def _not_imported(error: ImportError) -> str:
    """What to do about a library that is missing, incomplete or cannot be loaded, for lack of memory for example."""
    package = (error.name or "").partition(".")[0]
    if not package or not isinstance(error, ModuleNotFoundError):
        reason = " ".join(str(error).rpartition("Original error was:")[2].split())  # NumPy adds a page of advice
        return f"{package or 'a library'} cannot be loaded: {reason[:300]}"
    distribution = _DISTRIBUTIONS.get(package, package)
    if package == error.name:
        return f"the command line needs {package}, which is not installed: pip install {distribution}"
    return f"{package} is incomplete, it has no {error.name}: pip install --force-reinstall {distribution}"


def replace_closed_streams() -> None:
    """Opens the null device for standard streams that are closed, as by ``>&-``.

    Otherwise the next file that is opened would get their number, and whatever a library prints would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # print(file=None) would write to the other
            with contextlib.suppress(OSError):
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process


def _flushed(code: int) -> int:
    """The exit code, once the output is written. What cannot be written is dropped: Python would complain at exit."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if name == "stdout" and code == OK and not isinstance(error, BrokenPipeError):
                code = report(f"the output: {error.strerror or error}", BAD_INPUT)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A library's warning as one of our sentences, without its line of source."""
    report(f"warning: {' '.join(str(message).split())[:300]}", OK)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return OK if argv else BAD_INPUT
    if argv[0] == "--version":
        print(f"handgrad {__version__}")
        return OK
    command, *arguments = argv
    if command not in COMMANDS:
        meant = command_like(command, COMMANDS)
        advice = f"did you mean handgrad {meant}?" if meant else f"choose from {', '.join(COMMANDS)}"
        raise InputError(f"unknown command {command!r}; {advice}")
    code: int = import_module(modules_of_commands()[command]).run(arguments)
    return code


def modules_of_commands() -> dict[str, str]:
    """The module of each command, by the command's name."""
    return {command: f"handgrad.cli.{_FILES.get(command, command)}" for command in COMMANDS}


def _help() -> str:
    rows = "\n".join(f"  {name:9}{purpose}" for name, purpose in COMMANDS.items())
    return (
        "usage: handgrad COMMAND ...\n\nGPTs with gradients written by hand, on NumPy.\n\n"
        f"{rows}\n\nhandgrad COMMAND --help shows the flags of a command."
    )


def report(sentence: str, code: int) -> int:
    """Prints a sentence about an error or a warning; returns the exit code."""
    together = connected()
    if together is not None and not together.is_first:
        if code != OK:
            together.hold_back()
        sentence = f"{together.name}: {sentence}"
    with contextlib.suppress(OSError):  # nobody can read it; the exit code remains
        print(printable(f"handgrad: {sentence}", sys.stderr), file=sys.stderr, flush=True)
    return code
