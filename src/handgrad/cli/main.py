"""The command line: finds the command, runs it, and turns an error into one sentence and an exit code."""

import contextlib
import io
import os
import sys
from importlib import import_module

from handgrad.cli.suggestions import command_like
from handgrad.system.errors import InputError
from handgrad.system.processor import choose_blas_kernels
from handgrad.system.version import __version__

COMMANDS = {
    "train": "train a GPT on a text, or resume a run",
    "sample": "write text with a trained model",
    "eval": "loss, perplexity and bits per character of a text",
    "plot": "draw the curves of one run or several",
    "prepare": "turn texts into token files to train on",
    "tokenize": "show a text coloured by its tokens",
    "compare": "one text and one model under several tokenizers, as a table",
    "bench": "time handgrad beside PyTorch, and show where a step's time goes",
    "check": "prove every gradient on this machine",
}
_FILES = {"eval": "evaluate"}  # the command's own name would hide a Python built-in

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 fine, 1 failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    choose_blas_kernels()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    code = _run(argv)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed, as by >&-
        try:
            stream.flush()
        except BrokenPipeError:
            # The rest of the output has no reader; Python would try to write it once more at exit, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _run(argv: list[str]) -> int:
    try:
        return _dispatch(argv)
    except BrokenPipeError:
        return OK  # the reader of our output has left, as in `handgrad sample RUN | head`: not an error
    except InputError as error:
        return _say(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except MemoryError as error:
        return _say(f"out of memory: {error}", BAD_INPUT)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", BAD_INPUT)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("handgrad"):
            raise
        return _say(f"the command line needs {error.name}, which is not installed: pip install {error.name}", BAD_INPUT)


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


def _say(sentence: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"handgrad: {sentence}", file=sys.stderr)
    return code
