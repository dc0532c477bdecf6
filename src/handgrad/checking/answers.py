"""Answers to exercises: writes the file for the reader, reads it again, and checks its backward."""

import contextlib
import io
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from handgrad.checking.exercises import Exercise
from handgrad.checking.hints import floating_array, what_is_wrong
from handgrad.checking.numerical import relative_error
from handgrad.checking.results import TOLERANCE, Result
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.files import read_file, write_atomically


@dataclass(frozen=True)
class Verdict:
    """What a check of an answer found."""

    results: list[Result]
    """The error of each gradient; empty if the answer could not be run."""
    faults: list[str]
    """What is wrong, one sentence each; empty if the answer is right."""


class _WrongError(Exception):
    """The answer cannot be checked further; the message says why."""


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
    answer = _Answer(exercise, path)
    try:
        found = answer.gradients(np.float64)
        numeric = {name: exercise.numeric_gradient(name, answer.dy) for name in exercise.inputs}
        results = [
            Result(exercise.name, name, _error(gradient, numeric[name]))
            for name, gradient in zip(exercise.inputs, found, strict=True)
        ]
        faults = (
            answer.changed
            or _other_dtypes(found, exercise, np.float64)
            or [
                what_is_wrong(exercise, name, found, numeric, answer.again)
                for name, result in zip(exercise.inputs, results, strict=True)
                if not result.passed
            ]
        )
        if not faults:
            faults = _other_dtypes(answer.gradients(np.float32, quiet=True), exercise, np.float32)
    except _WrongError as wrong:
        return Verdict([], [str(wrong)])
    return Verdict(results, faults)


class _Answer:
    """The reader's two functions. Each call gets its own copy of the inputs, because they may write to them."""

    def __init__(self, exercise: Exercise, path: Path) -> None:
        self.exercise = exercise
        self.path = path
        module = _execute(path)
        backward = exercise.name + "_backward"
        for name in (exercise.name, backward):
            if not callable(getattr(module, name, None)):
                raise InputError(f"{path} defines no function {name}; it needs {exercise.name} and {backward}")
        self._forward: Callable[..., Any] = getattr(module, exercise.name)
        self._backward: Callable[..., Any] = getattr(module, backward)
        origin = getattr(self._backward, "__module__", None) or ""
        if origin.startswith("handgrad."):  # imported, perhaps with *: it would pass instead of the reader's own
            raise InputError(f"{path} imports {backward} from {origin}; write it yourself")
        self.dy = np.asarray(np.random.default_rng(17).standard_normal(exercise.output().shape))
        self.changed: list[str] = []
        """The arrays of others that the last call wrote to, one sentence each."""

    def gradients(self, dtype: type[np.floating[Any]], dy: Array | None = None, quiet: bool = False) -> list[Any]:
        """What the backward returns for inputs of a dtype; ``quiet`` hides what the reader's functions print."""
        exercise, backward = self.exercise, self.exercise.name + "_backward"
        inputs = {name: array.astype(dtype) for name, array in exercise.inputs.items()}
        dy = (self.dy if dy is None else dy).astype(dtype)
        options = exercise.options()
        before = _snapshot({**inputs, **options})
        with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
            pair = self._call(self._forward, *inputs.values(), **options)
            self.changed = [f"{exercise.name} changes {name} in place; let it make a new array" for name in before()]
            saved = self._saved(pair, dtype)
            before = _snapshot({exercise.upstream: dy, **inputs, **options, "what was saved": saved})
            gradients = self._call(self._backward, dy, saved)
        self.changed += [f"{backward} changes {name} in place; let it make a new array" for name in before()]
        gradients = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
        if len(gradients) != len(inputs):
            raise _WrongError(
                f"{backward} returns {len(gradients)} gradient{'s' * (len(gradients) != 1)}; "
                f"{len(inputs)} {'is' if len(inputs) == 1 else 'are'} needed, for {', '.join(inputs)}"
            )
        return gradients

    def again(self, dy: Array) -> list[Any] | None:
        """The gradients for another dy; None if the backward fails."""
        try:
            with np.errstate(all="ignore"):
                return self.gradients(np.float64, dy, quiet=True)
        except _WrongError:
            return None

    def _saved(self, pair: Any, dtype: type[np.floating[Any]]) -> Any:
        """What the forward saved, after a check of its output."""
        name, right = self.exercise.name, self.exercise.output()
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise _WrongError(f"{name} must return a pair, the output and what is saved, not {_described(pair)}")
        output = floating_array(pair[0])
        if output is None or output.shape != right.shape:
            raise _WrongError(f"{name} must return an output of shape {right.shape}, not {_described(pair[0])}")
        if output.dtype != dtype:
            raise _WrongError(
                f"{name} makes {output.dtype} of {np.dtype(dtype)}; the output must keep the dtype of the inputs"
            )
        if dtype is np.float64 and not relative_error(output, right) <= TOLERANCE:
            raise _WrongError(
                f"{name} no longer computes what it did; what it saves is yours to change, its output is not"
            )
        return pair[1]

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Raises _WrongError for whatever the reader's function raises."""
        try:
            return function(*arguments, **options)
        except NotImplementedError as error:
            if function is self._backward:
                raise _WrongError(
                    f"{_place(self.path, error)}: {self.exercise.name}_backward is not yet written"
                ) from None
            raise _WrongError(_raised(self.path, error, function)) from None
        except (Exception, SystemExit) as error:
            raise _WrongError(_raised(self.path, error, function)) from None


def _execute(path: Path) -> ModuleType:
    """The reader's file as a module. No bytecode is cached, because the file may change twice within a second."""
    content = read_file(path)
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        code = compile(content, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"{path}, line {error.lineno}" if error.lineno else str(path)
        raise InputError(f"{where}, is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, brackets without end
        raise InputError(f"{path} is not Python: {error}") from None
    try:
        exec(code, vars(module))
    except (Exception, SystemExit) as error:
        raise InputError(_raised(path, error)) from None
    return module


def _error(gradient: Any, numeric: Array) -> float:
    array = floating_array(gradient)
    with np.errstate(invalid="ignore"):  # infinity divided by infinity
        return float("inf") if array is None else relative_error(array, numeric)


def _other_dtypes(gradients: list[Any], exercise: Exercise, dtype: type[np.floating[Any]]) -> list[str]:
    """A sentence for each gradient whose dtype is not that of its input."""
    return [
        f"the gradient for {name} is {gradient.dtype} where {name} is {np.dtype(dtype)}; it must keep the dtype"
        for name, gradient in zip(exercise.inputs, map(floating_array, gradients), strict=True)
        if gradient is not None and gradient.dtype != dtype
    ]


def _snapshot(values: dict[str, Any]) -> Callable[[], list[str]]:
    """Remembers the arrays in ``values`` and returns a function that names the ones that have changed since."""
    arrays = [(name, array, array.tobytes()) for name, value in values.items() for array in _arrays_in(value)]

    def changed() -> list[str]:
        found: dict[int, str] = {}  # names an input once, even if it was also saved
        for name, array, content in arrays:
            if array.tobytes() != content:
                found.setdefault(id(array), name)
        return list(dict.fromkeys(found.values()))

    return changed


def _arrays_in(value: Any) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _arrays_in(part)


def _described(value: Any) -> str:
    array = floating_array(value)
    return f"a {type(value).__name__}" if array is None else f"an array of shape {array.shape}"


def _raised(path: Path, error: BaseException, function: Callable[..., Any] | None = None) -> str:
    message = " ".join(str(error).split())
    return f"{_place(path, error, function)}: {type(error).__name__}" + (f": {message}" if message else "")


def _place(path: Path, error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """The last line of the reader's file in the traceback, or the line where the function begins."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    code = getattr(function, "__code__", None)
    if not lines and code is not None and code.co_filename == str(path):  # for example if arguments do not fit
        lines = [code.co_firstlineno]
    return f"{path}, line {lines[-1]}" if lines else str(path)
