"""Answers to exercises: writes the file for the reader, reads it again, and checks its backward."""

import os
from pathlib import Path

import numpy as np

from handgrad.checking.exercises import Exercise
from handgrad.checking.hints import error_of, what_is_wrong
from handgrad.checking.results import Result, Verdict
from handgrad.checking.user_code import execute
from handgrad.checking.user_pair import UserPair, WrongError
from handgrad.system.errors import InputError
from handgrad.system.files import write_atomically


def write_exercise(exercise: Exercise, path: Path) -> bool:
    """Writes the file that the reader completes. Returns False, and writes nothing, if the path exists."""
    if os.path.lexists(path):  # also true for a broken link
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, exercise.text.encode())
    return True


def check_answer(exercise: Exercise, path: Path) -> Verdict:
    """Runs the reader's file and compares its gradients, in float64, with central differences of our forward.

    Also checks the number of gradients, their shapes and dtypes, that no input is changed in place, and that float32
    stays float32.

    Raises InputError if the file is missing, if it does not define both functions, or if its backward is handgrad's.
    """
    answer = _answer(exercise, path)
    dy = np.asarray(np.random.default_rng(17).standard_normal(exercise.output().shape))
    try:
        found = answer.gradients(np.float64, dy)
        numeric = {name: exercise.numeric_gradient(name, dy) for name in exercise.inputs}
        results = [
            Result(exercise.name, name, error_of(gradient, numeric[name]))
            for name, gradient in zip(exercise.inputs, found, strict=True)
        ]
        faults = (
            answer.changed
            or answer.other_dtypes(found, np.float64)
            or [
                what_is_wrong(exercise, name, found, numeric, answer.again)
                for name, result in zip(exercise.inputs, results, strict=True)
                if not result.passed
            ]
        )
        if not faults:
            faults = answer.other_dtypes(answer.gradients(np.float32, dy, quiet=True), np.float32)
    except WrongError as wrong:
        return Verdict([], [str(wrong)])
    return Verdict(results, faults)


def _answer(exercise: Exercise, path: Path) -> UserPair:
    """The two functions of the reader's file."""
    module = execute(path)
    backward = exercise.name + "_backward"
    for name in (exercise.name, backward):
        if not callable(getattr(module, name, None)):
            raise InputError(f"{path} defines no function {name}; it needs {exercise.name} and {backward}")
    origin = getattr(getattr(module, backward), "__module__", None) or ""
    if origin.startswith("handgrad."):  # imported, perhaps with *: it would pass instead of the reader's own
        raise InputError(f"{path} imports {backward} from {origin}; write it yourself")
    functions = getattr(module, exercise.name), getattr(module, backward)
    answer = UserPair(exercise.name, *functions, exercise.inputs, exercise.options, exercise.upstream)
    answer.right = exercise.output()
    return answer
