"""handgrad check: proves the gradients and prints the errors; checks answers to exercises in the same way."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from handgrad.checking import (
    COMPILED_TOLERANCE,
    PART_WIDTH,
    TAPE_TOLERANCE,
    TOLERANCE,
    Exercise,
    Result,
    all_exercises,
    check_answer,
    check_gradients,
    check_pair_at,
    exercise_named,
    in_columns,
    write_exercise,
)
from handgrad.cli.arguments import parse
from handgrad.cli.console import make_console
from handgrad.cli.help import Help
from handgrad.cli.invocation import command
from handgrad.cli.main import FAILED, OK
from handgrad.system.errors import InputError

_OPERATION_WIDTH = 28
_COLUMNS = "by hand  on the tape  compiled  bfloat16"


@dataclass
class Arguments:
    """Prove every gradient on this machine. For each operation, each layer and a whole GPT, the gradients by hand are
    compared with central differences, in float64, on shapes whose sizes all differ. The gradients on the tape are
    compared with those by hand, and the compiled kernels, in float32, with both. The error of a gradient a that should
    be n is max|a - n| / max(max|a|, max|n|, 1e-3). The column bfloat16 compares kernels with sums in float64 of the
    same rounded numbers, as a share of the error that float32 sums may have. The exit code is 1 if one is wrong.

    With --pair, check a pair of functions of your own; with --exercise, an exercise's gradient that you write
    yourself."""

    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False
    """Show the error of each gradient, and not only the largest of each operation."""
    pair: Annotated[str | None, tyro.conf.arg(metavar="MODULE:F")] = None
    """Your own operation, as in path/to/file.py:f or module:f, with f_backward in the same file. It is checked on
    f_inputs, an array or a tuple of arrays, with the options f_options, a dictionary, if the file defines them."""
    shapes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SHAPE ...")] = ()
    """Check the pair on normal random numbers of these shapes, one for each input, as in 2,3,5 for an array and () for
    a number."""
    exercise: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """An operation whose backward you write. The first call writes a file for you to complete; each later call checks
    it. "list" shows the names, from easy to hard."""
    answer: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The file with your answer; exercises/NAME.py by default."""


_HELP = Help(
    examples=(
        ("handgrad check", "Print one line for each operation, and the verdict."),
        (
            "handgrad check --pair own.py:swish --shapes 2,3,5 5",
            "Check swish_backward, which own.py defines beside swish.",
        ),
        ("handgrad check --exercise silu", "Write, then check, the backward of silu."),
    )
)


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "check", extra=_HELP)
    if arguments.answer is not None and arguments.exercise in (None, "list"):
        raise InputError(f"check: --answer {arguments.answer} needs the name of an exercise, --exercise NAME")
    if arguments.shapes and arguments.pair is None:
        raise InputError(f"check: --shapes {' '.join(arguments.shapes)} needs a pair of functions, --pair MODULE:F")
    if arguments.pair is not None:
        if arguments.exercise is not None:
            raise InputError("check: --pair and --exercise cannot go together; check one after the other")
        return _pair(arguments.pair, [_shape(word) for word in arguments.shapes] or None)
    if arguments.exercise is None:
        return _check_all(arguments.verbose)
    if arguments.exercise == "list":
        return _list_exercises()
    exercise = exercise_named(arguments.exercise)
    return _exercise(exercise, arguments.answer or Path("exercises", f"{exercise.name}.py"))


def _check_all(verbose: bool) -> int:
    console = make_console()
    head = f"{'error of the gradient of':{PART_WIDTH}}" if verbose else f"{'largest error':{_OPERATION_WIDTH}}"
    console.print(f"{head}  {_COLUMNS}", style="bold")
    results = []
    for operation, group in groupby(check_gradients(), _operation_of):
        if verbose:
            results += _print_each(console, group)
        else:
            found = list(group)
            _print_largest(console, operation, found)
            results += found
    wrong = [result for result in results if not result.passed]
    if wrong:
        names = "; ".join(f"{result.subject}: {result.part}" for result in wrong)
        console.print(f"\n{len(wrong)} of {len(results)} results are wrong: {names}", style="bold red")
        return FAILED
    console.print()
    for sentence in _verdict(results):
        console.print(sentence)
    return OK


def _operation_of(result: Result) -> str:
    """The operation, layer or model, without the case that was checked."""
    return result.subject.partition(", ")[0]


def _print_each(console: Console, results: Iterable[Result]) -> list[Result]:
    """A heading for each case, and a line for each gradient as soon as it is checked."""
    printed: list[Result] = []
    for result in results:
        if not printed or printed[-1].subject != result.subject:
            console.print(result.subject, style="bold")
        _print_row(console, result)
        printed.append(result)
    return printed


def _print_largest(console: Console, operation: str, results: Sequence[Result]) -> None:
    """One line for an operation; below it the gradients that are wrong, if any."""
    wrong = [result for result in results if not result.passed]
    errors = [
        _largest(getattr(result, name) for result in results) for name in ("error", "tape", "compiled", "bfloat16")
    ]
    line = in_columns(f"{operation:{_OPERATION_WIDTH}}", *errors)
    console.print(f"{line}  {len(wrong)} WRONG" if wrong else line, style="bold red" if wrong else "green")
    for result in wrong:
        case = result.subject.partition(", ")[2]
        part = f"  {case}: {result.part}" if case else f"  {result.part}"
        line = in_columns(f"{part:{_OPERATION_WIDTH}}", result.error, result.tape, result.compiled, result.bfloat16)
        console.print(line, style="red")


def _largest(errors: Iterable[float | None]) -> float | None:
    """The largest, of which NaN is the worst; None if there is none."""
    found = [error for error in errors if error is not None]
    return max(found, key=lambda error: math.inf if math.isnan(error) else error, default=None)


def _verdict(results: Sequence[Result]) -> list[str]:
    gradients = [result.error for result in results if result.error is not None]
    tapes = [result.tape for result in results if result.tape is not None]
    kernels = [result.compiled for result in results if result.compiled is not None]
    sentences = [
        f"all {len(gradients)} gradients are right: largest error {max(gradients):.1e}, "
        f"{sum(error <= 1e-9 for error in gradients)} within 1e-9; above {TOLERANCE:.0e} is wrong",
        f"all {len(tapes)} gradients on the tape agree with those by hand: largest difference {max(tapes):.1e}, "
        f"{tapes.count(0.0)} equal to the last bit; above {TAPE_TOLERANCE:.0e} is wrong",
    ]
    if kernels:
        sentences.append(
            f"all {len(kernels)} results of compiled kernels agree with both: largest difference {max(kernels):.1e}; "
            f"above {COMPILED_TOLERANCE:.0e}, in float32, is wrong"
        )
    shares = [result.bfloat16 for result in results if result.bfloat16 is not None]
    if kernels and shares:
        sentences.append(
            f"all {len(shares)} results in bfloat16 are as exact as the rounding of float32 sums allows: largest error "
            f"{max(shares):.2f} of that"
        )
    return sentences


def _print_row(console: Console, result: Result) -> None:
    part = f"  {result.part}"
    line = in_columns(f"{part:{PART_WIDTH}}", result.error, result.tape, result.compiled, result.bfloat16)
    console.print(line if result.passed else f"{line}  WRONG", style="green" if result.passed else "bold red")


def _list_exercises() -> int:
    console = make_console()
    for exercise in all_exercises():
        console.print(f"{exercise.name:24}{exercise.summary}")
    return OK


def _exercise(exercise: Exercise, path: Path) -> int:
    console, backward = make_console(), f"{exercise.name}_backward"
    if write_exercise(exercise, path):
        console.print(f"wrote {path}: {exercise.summary}\nwrite {backward} there, then run the same command again")
        return OK
    verdict = check_answer(exercise, path)
    if verdict.results:
        console.print(f"{'error of the gradient of':{PART_WIDTH}}  yours\n{exercise.name}", style="bold")
    for result in verdict.results:
        _print_row(console, result)
    if verdict.results:
        console.print()
    if verdict.faults:
        console.print("\n".join(verdict.faults))
        return FAILED
    names = [other.name for other in all_exercises()]
    later = names[names.index(exercise.name) + 1 :]
    console.print(
        f"{backward} is right (max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)\n"
        + (f"next: {command('check', '--exercise', later[0])}" if later else "that was the last exercise")
    )
    return OK


def _pair(place: str, shapes: list[tuple[int, ...]] | None) -> int:
    console, verdict = make_console(), check_pair_at(place, shapes)
    for line in verdict.lines():
        console.print(line, style="bold red" if "  WRONG" in line else None)
    return OK if verdict.passed else FAILED


def _shape(word: str) -> tuple[int, ...]:
    sizes = word.strip("()").split(",")
    if sizes == [""]:
        return ()
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise InputError(
            f"check: --shapes {word} is no shape; write sizes with commas, as in 2,3,5, or () for a number"
        )
    return tuple(map(int, sizes))
