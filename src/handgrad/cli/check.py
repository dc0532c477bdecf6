"""handgrad check: the proof of the gradients, as a table; and exercises, whose answers it checks the same way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.checking import (
    COMPILED_TOLERANCE,
    TAPE_TOLERANCE,
    TOLERANCE,
    Exercise,
    Result,
    all_exercises,
    check_answer,
    check_gradients,
    exercise_named,
    write_exercise,
)
from handgrad.cli.arguments import parse
from handgrad.cli.console import make_console
from handgrad.cli.main import FAILED, OK
from handgrad.system.errors import InputError

_PART_WIDTH = 48


@dataclass
class Arguments:
    """Prove every gradient on this machine: each operation, each layer and a whole GPT, in float64 against central
    differences, on shapes whose sizes all differ; the tape against these; and the compiled kernels, in float32,
    against what is so proven. Or, with --exercise, check a gradient that you write yourself."""

    exercise: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """An operation whose backward you write: the first call writes a file to complete, every later one checks it, as
    this table is checked; "list" tells the names, from easy to hard."""
    answer: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where your answer stands; exercises/NAME.py."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "check")
    if arguments.answer is not None and arguments.exercise in (None, "list"):
        raise InputError(f"check: --answer {arguments.answer} needs the name of an exercise, --exercise NAME")
    if arguments.exercise is None:
        return _check_all()
    if arguments.exercise == "list":
        return _list_exercises()
    exercise = exercise_named(arguments.exercise)
    return _exercise(exercise, arguments.answer or Path("exercises", f"{exercise.name}.py"))


def _check_all() -> int:
    console = make_console()
    console.print(f"{'error of the gradient of':{_PART_WIDTH}}  by hand  on the tape  compiled", style="bold")
    subject, results = None, []
    for result in check_gradients():
        if result.subject != subject:
            subject = result.subject
            console.print(subject, style="bold")
        console.print(_row(result), style="green" if result.passed else "bold red")
        results.append(result)
    wrong = [result for result in results if not result.passed]
    if wrong:
        names = "; ".join(f"{result.subject}: {result.part}" for result in wrong)
        console.print(f"\n{len(wrong)} of {len(results)} results are wrong: {names}")
        return FAILED
    gradients = [result.error for result in results if result.error is not None]
    tapes = [result.tape for result in results if result.tape is not None]
    kernels = [result.compiled for result in results if result.compiled is not None]
    console.print(
        f"\nall {len(gradients)} gradients are right: largest error {max(gradients):.1e}, "
        f"{sum(error <= 1e-9 for error in gradients)} within 1e-9 "
        f"(max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)\n"
        f"all {len(tapes)} gradients on the tape are those by hand: largest difference {max(tapes):.1e}, "
        f"{tapes.count(0.0)} equal to the last bit (max|t - a| / max(max|t|, max|a|, 1e-3); "
        f"above {TAPE_TOLERANCE:.0e} is wrong)"
    )
    if kernels:
        console.print(
            f"all {len(kernels)} results of compiled kernels, in float32, agree with them: largest difference "
            f"{max(kernels):.1e} (max|a - b| / max(1, max|b|); above {COMPILED_TOLERANCE:.0e} is wrong)"
        )
    return OK


def _row(result: Result) -> str:
    columns = [f"  {result.part:{_PART_WIDTH - 2}}"]
    for error, width in ((result.error, 7), (result.tape, 11), (result.compiled, 8)):
        columns.append(f"{'' if error is None else f'{error:.1e}':{width}}")
    return "  ".join(columns).rstrip() + ("" if result.passed else "  WRONG")


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
        console.print(f"{'error of the gradient of':{_PART_WIDTH}}  yours\n{exercise.name}", style="bold")
    for result in verdict.results:
        console.print(_row(result), style="green" if result.passed else "bold red")
    if verdict.results:
        console.print()
    if verdict.faults:
        console.print("\n".join(verdict.faults))
        return FAILED
    names = [other.name for other in all_exercises()]
    later = names[names.index(exercise.name) + 1 :]
    console.print(
        f"{backward} is right (max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)\n"
        + (f"next: handgrad check --exercise {later[0]}" if later else "that was the last exercise")
    )
    return OK
