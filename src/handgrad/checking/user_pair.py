"""A user's forward and backward, run on copies: what they return, what they change, and what they raise."""

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.checking.cases import Options
from handgrad.checking.hints import floating_array
from handgrad.checking.numerical import relative_error
from handgrad.checking.results import TOLERANCE
from handgrad.checking.user_code import file_of, place, place_of, raised
from handgrad.ops.contract import arrays_within, name_of, wrong_count
from handgrad.system.arrays import Array


class WrongError(Exception):
    """The pair cannot be checked further; the message says why."""


class UserPair:
    """A user's two functions. Each call gets its own copy of the inputs, because they may write to them.

    If the forward returns several outputs, ∂L/∂outputs is one vector of all their elements, which the backward gets
    cut into pieces of their shapes.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: dict[str, Array],
        options: Options,
        upstream: str,
    ) -> None:
        self.name, self.forward, self.backward = name, forward, backward
        self.inputs = inputs
        """float64, by name and in order."""
        self.options, self.upstream = options, upstream
        self.right: Array | None = None
        """What the forward should return, if that is known from elsewhere."""
        self.shapes: list[tuple[int, ...]] = []
        """Of each output, after the first call."""
        self.several = False
        self.changed: list[str] = []
        """The arrays of others that the last call wrote to, one sentence each."""

    def output(self, inputs: dict[str, Array] | None = None) -> Array:
        """What the forward returns in float64; several outputs as one vector."""
        given = [array.copy() for array in (inputs or self.inputs).values()]
        return self._output_and_saved(self._call(self.forward, *given, **self.options()), np.float64)[0]

    def gradients(self, dtype: type[np.floating[Any]], dy: Array, quiet: bool = False) -> list[Any]:
        """What the backward returns for inputs of a dtype; ``quiet`` hides what the user's functions print."""
        inputs = {name: array.astype(dtype) for name, array in self.inputs.items()}
        options = self.options()
        before = _snapshot({**inputs, **options})
        with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
            returned = self._call(self.forward, *inputs.values(), **options)
            self.changed = [f"{self.name} changes {name} in place; let it make a new array" for name in before()]
            _, saved = self._output_and_saved(returned, dtype)
            given = self._in_pieces(dy.astype(dtype))
            before = _snapshot({self.upstream: given, **inputs, **options, "what was saved": saved})
            gradients = self._call(self.backward, given, saved)
        backward = name_of(self.backward)
        self.changed += [f"{backward} changes {name} in place; let it make a new array" for name in before()]
        gradients = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
        while len(gradients) > len(inputs) and gradients[-1] is None:  # for optional inputs that are left out
            gradients.pop()
        if len(gradients) != len(inputs):
            raise WrongError(wrong_count(f"{self.name}_backward", len(gradients), list(inputs)))
        return gradients

    def again(self, dy: Array) -> list[Any] | None:
        """The gradients for another dy; None if the backward fails."""
        try:
            with np.errstate(all="ignore"):
                return self.gradients(np.float64, dy, quiet=True)
        except WrongError:
            return None

    def other_dtypes(self, gradients: list[Any], dtype: type[np.floating[Any]]) -> list[str]:
        """A sentence for each gradient whose dtype is not that of its input."""
        return [
            f"the gradient for {name} is {gradient.dtype} where {name} is {np.dtype(dtype)}; it must keep the dtype"
            for name, gradient in zip(self.inputs, map(floating_array, gradients), strict=True)
            if gradient is not None and gradient.dtype != dtype
        ]

    def _in_pieces(self, dy: Array) -> Any:
        if not self.several:
            return dy
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])[:-1]
        return tuple(piece.reshape(shape) for piece, shape in zip(np.split(dy, ends), self.shapes, strict=True))

    def _output_and_saved(self, pair: Any, dtype: type[np.floating[Any]]) -> tuple[Array, Any]:
        """The output as one array, and what the forward saved, after a check of both."""
        name = self.name
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise WrongError(f"{name} must return a pair, the output and what is saved, not {_described(pair)}")
        self.several = isinstance(pair[0], tuple)
        outputs = [floating_array(each) for each in (pair[0] if self.several else (pair[0],))]
        shape = None if self.right is None else self.right.shape
        for given, output in zip(pair[0] if self.several else (pair[0],), outputs, strict=True):
            if output is None or shape not in (None, output.shape):
                needed = "of floating numbers" if shape is None else f"of shape {shape}"
                raise WrongError(f"{name} must return an output {needed}, not {_described(given)}")
            if output.dtype != dtype:
                raise WrongError(
                    f"{name} makes {output.dtype} of {np.dtype(dtype)}; the output must keep the dtype of the inputs"
                )
        found = [output for output in outputs if output is not None]
        self.shapes = [output.shape for output in found]
        output = np.concatenate([one.reshape(-1) for one in found]) if self.several else found[0]
        if self.right is not None and dtype is np.float64 and not relative_error(output, self.right) <= TOLERANCE:
            raise WrongError(
                f"{name} no longer computes what it did; what it saves is yours to change, its output is not"
            )
        return output, pair[1]

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Raises WrongError for whatever the user's function raises."""
        files = {file_of(self.forward), file_of(self.backward)}
        try:
            return function(*arguments, **options)
        except NotImplementedError as error:
            if function is self.backward:
                where = place(error, files, place_of(function))
                raise WrongError(f"{where}: {name_of(function)} is not yet written") from None
            raise WrongError(raised(error, files, place_of(function))) from None
        except (Exception, SystemExit) as error:
            raise WrongError(raised(error, files, place_of(function))) from None


def copies_of(options: dict[str, Any]) -> Options:
    """New options for each call, so that a generator among them draws the same numbers every time."""
    return lambda: copy.deepcopy(options)


def _snapshot(values: dict[str, Any]) -> Callable[[], list[str]]:
    """Remembers the arrays in ``values`` and returns a function that names the ones that have changed since."""
    arrays = [(name, array, array.tobytes()) for name, value in values.items() for array in arrays_within(value)]

    def changed() -> list[str]:
        found: dict[int, str] = {}  # names an input once, even if it was also saved
        for name, array, content in arrays:
            if array.tobytes() != content:
                found.setdefault(id(array), name)
        return list(dict.fromkeys(found.values()))

    return changed


def _described(value: Any) -> str:
    array = floating_array(value)
    return f"a {type(value).__name__}" if array is None else f"an array of shape {array.shape}"
