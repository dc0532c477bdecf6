"""Proves a user's own pair of functions: against central differences, by hand and on the tape, in both dtypes."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from handgrad.autograd import Tensor
from handgrad.autograd.applying import apply
from handgrad.checking.hints import error_of, floating_array, what_is_wrong
from handgrad.checking.numerical import STEP, central_differences, relative_error
from handgrad.checking.results import TOLERANCE, Result, Verdict
from handgrad.checking.user_code import execute, imported
from handgrad.checking.user_pair import UserPair, WrongError, copies_of
from handgrad.ops.contract import name_of, names_of_inputs
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

MOST_ELEMENTS = 20_000
"""Of all inputs together: each element costs four forwards."""
_BEND = 1e-6
"""A difference of slopes below it may be rounding."""
_PROVEN = (
    f"(max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)\n"
    "the tape finds the same; float32 stays float32; neither function changes an array that it is given"
)


def check_pair(f: Any, /, *inputs: Any, backward: Callable[..., Any] | None = None, **options: Any) -> Verdict:
    """Proves, on these inputs, that ``f_backward`` is the gradient of ``f``, a pair as ``handgrad.apply`` takes it.

    ``f`` is the forward, beside which its module defines ``f_backward``, or the pair ``(f, f_backward)``; ``backward``
    names another backward. ``inputs`` are the differentiable ones, floating arrays or numbers. Choose shapes whose
    sizes all differ, and values away from kinks, such as that of relu at 0.

    In float64, for a random ∂L/∂output, the error max|a - n| / max(max|a|, max|n|, 1e-3) between each gradient and
    central differences must be at most 1e-6. The gradients on the tape must be the same as by hand. float32 must stay
    float32, and neither function may change an array that it is given.

    Returns a verdict that is true if all this holds; ``print`` it to see the error of each gradient, and what is wrong.
    Whatever f and its backward raise is part of the verdict.

    Raises InputError if there is no backward, and for inputs on which nothing can be proven: no floating numbers, too
    many elements, or a forward that is not finite there or that returns something else each time.
    """
    forward, backward = _both(f, backward)
    options = {name: value.data if isinstance(value, Tensor) else value for name, value in options.items()}
    pair = _Pair(forward, backward, _named(forward, inputs, options), options)
    try:
        return pair.verdict()
    except WrongError as wrong:
        return Verdict([], [str(wrong)])


def check_pair_at(place: str, shapes: Sequence[tuple[int, ...]] | None = None) -> Verdict:
    """Proves the pair at ``module:f`` or ``path/to/file.py:f``, which defines ``f_backward`` beside ``f``.

    The inputs are normal random numbers of these shapes, or else ``f_inputs`` beside f: one array
    or a tuple of arrays. The options are ``f_options`` beside it, a dictionary, or none.

    Raises InputError if the module, one of the functions or the inputs are missing.
    """
    module, name = _module_and_name(place)
    where, _, _ = place.rpartition(":")
    for needed in (name, f"{name}_backward"):
        if not callable(getattr(module, needed, None)):
            raise InputError(f"{where} defines no function {needed}; a pair is {name} and {name}_backward")
    options = getattr(module, f"{name}_options", {})
    if not isinstance(options, dict):
        raise InputError(f"{where}: {name}_options must be a dictionary, not a {type(options).__name__}")
    if shapes is not None:
        draw = np.random.default_rng(23)
        inputs: Any = tuple(draw.standard_normal(shape) for shape in shapes)
    else:
        inputs = getattr(module, f"{name}_inputs", None)
        if inputs is None:
            example = f"{name}_inputs = (np.random.default_rng(0).standard_normal((2, 3, 5)),)"
            raise InputError(
                f"{where} does not say on which inputs to check {name}: define {example} there, or give a shape for "
                "each, as in --shapes 2,3,5"
            )
    functions = getattr(module, name), getattr(module, f"{name}_backward")
    return check_pair(functions, *(inputs if isinstance(inputs, tuple | list) else (inputs,)), **options)


class _Pair(UserPair):
    """A pair whose own forward, in float64, says what is right."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: dict[str, Array],
        options: dict[str, Any],
    ) -> None:
        try:
            upstream = next(iter(signature(backward).parameters), "dy")
        except (TypeError, ValueError):  # a function that is not written in Python
            upstream = "dy"
        super().__init__(name_of(forward), forward, backward, inputs, copies_of(options), upstream)

    def verdict(self) -> Verdict:
        """What the checks find. Raises WrongError if a function cannot be checked further, InputError as check_pair."""
        output = self.output()
        if not np.isfinite(output).all():
            raise InputError(f"{self.name} is not finite on these inputs; choose others, on which it is")
        if not np.array_equal(output, self.output()):
            raise InputError(
                f"{self.name} returns something else each time; pass the generator that it draws from as an option"
            )
        dy = np.asarray(np.random.default_rng(17).standard_normal(output.shape))
        found = self.gradients(np.float64, dy)
        changed = self.changed
        numeric = {name: self.numeric_gradient(name, dy) for name in self.inputs}
        taped, refused = self._on_the_tape(dy)
        results = []
        for i, (name, expected) in enumerate(numeric.items()):
            gradient = np.zeros_like(expected) if found[i] is None else found[i]
            error, tape = error_of(gradient, expected), None
            if taped is not None and (by_hand := floating_array(gradient)) is not None:
                tape = relative_error(taped[i], by_hand)
            at = None if error <= TOLERANCE else _index_furthest(gradient, expected)
            results.append(Result(self.name, name, error, tape, furthest=_at(name, at)))
        faults = changed or self.other_dtypes(found, np.float64)
        faults = faults or [self._fault(result, found, numeric, dy) for result in results if not result.passed]
        faults = faults or [refused] * bool(refused)
        if not faults:
            faults = self.other_dtypes(self.gradients(np.float32, dy, quiet=True), np.float32) or self.changed
        return Verdict(results, faults, f"{self.name}_backward is right {_PROVEN}")

    def numeric_gradient(self, name: str, dy: Array, step: float = STEP) -> Array:
        """The gradient of Σ dy · output for one input, by central differences.

        Raises InputError if the forward is not finite so near to the inputs.
        """
        moved = {**self.inputs, name: self.inputs[name].copy()}
        with contextlib.redirect_stdout(io.StringIO()):
            gradient = central_differences(lambda: float((dy * self.output(inputs=moved)).sum()), moved[name], step)
        if not np.isfinite(gradient).all():
            index = tuple(np.argwhere(~np.isfinite(gradient))[0])
            raise InputError(
                f"{self.name} is not finite if {_at(name, index)}, {self.inputs[name][index]:.4g}, moves by "
                f"{2 * step:g}; choose inputs farther inside its domain"
            )
        return gradient

    def _bends_at(self, name: str, index: tuple[Any, ...], dy: Array) -> bool:
        """Whether the slopes on both sides of an input remain different when the steps become shorter."""
        moved = {**self.inputs, name: self.inputs[name].copy()}

        def value(distance: float) -> float:
            moved[name][index] = self.inputs[name][index] + distance
            return float((dy * self.output(inputs=moved)).sum())

        with contextlib.redirect_stdout(io.StringIO()):
            long, short = (abs(value(h) - 2 * value(0) + value(-h)) / h for h in (STEP, STEP / 4))
        # Of a smooth function these are proportional to the step.
        return long > _BEND and short > long / 2

    def _on_the_tape(self, dy: Array) -> tuple[list[Array] | None, str]:
        """The gradients that the tape finds; if it refuses the pair, None and its sentence."""
        tensors = [Tensor(array, requires_grad=True) for array in self.inputs.values()]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                made = apply((self.forward, self.backward), *tensors, **self.options())
                pieces = self._in_pieces(dy)
                if self.several:
                    made = sum((y * piece).sum() for y, piece in zip(made, pieces, strict=True))
                made.backward(None if self.several else dy)
        except (TypeError, ValueError) as error:
            return None, str(error)
        return [np.zeros(x.shape) if x.grad is None else x.grad for x in tensors], ""

    def _fault(self, result: Result, found: list[Any], numeric: dict[str, Array], dy: Array) -> str:
        """A sentence about a gradient that is wrong, or that cannot be known."""
        name, expected = result.part, numeric[result.part]
        if result.error is not None and result.error <= TOLERANCE:
            return f"the gradient for {name} on the tape is not the same as by hand"
        nearer = self.numeric_gradient(name, dy, STEP / 4)
        index = np.unravel_index(np.abs(nearer - expected).argmax(), expected.shape)
        off = _index_furthest(found[list(numeric).index(name)], expected)
        if relative_error(nearer, expected) > TOLERANCE or self._bends_at(name, index := off or index, dy):
            return (
                f"nothing can be said of the gradient for {name}: {self.name} is not smooth near {_at(name, index)}, "
                f"{self.inputs[name][index]:.4g}, as at a kink or a jump; choose inputs away from it"
            )
        if found[list(numeric).index(name)] is None:
            return f"the gradient for {name} is None, but the output depends on {name}"
        return what_is_wrong(self, name, found, numeric, self.again)


def _index_furthest(gradient: Any, expected: Array) -> tuple[Any, ...] | None:
    """Of the element that is furthest off; None if the gradient has another shape."""
    array = floating_array(gradient)
    if array is None or array.shape != expected.shape:
        return None
    off = np.abs(array - expected)
    return np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)


def _at(name: str, index: tuple[Any, ...] | None) -> str:
    """An element as Python writes it; empty without an index."""
    if index is None:
        return ""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _both(f: Any, backward: Callable[..., Any] | None) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if isinstance(f, tuple):
        if len(f) != 2 or not all(map(callable, f)) or backward is not None:
            raise InputError("check_pair: a pair is two functions, (f, f_backward)")
        return f
    if not callable(f):
        raise InputError(
            f"check_pair: the first argument is a function or a pair of functions, not a {type(f).__name__}"
        )
    if backward is None:
        name = f"{name_of(f)}_backward"
        module = sys.modules.get(getattr(f, "__module__", None) or "")
        backward = getattr(module, name, None) or getattr(f, "__globals__", {}).get(name)
        if backward is None:
            raise InputError(f"check_pair: there is no {name} beside {name_of(f)}; pass both, ({name_of(f)}, {name})")
    if not callable(backward):
        raise InputError(f"check_pair: the backward of {name_of(f)} must be a function, not {type(backward).__name__}")
    return f, backward


def _named(forward: Callable[..., Any], inputs: Sequence[Any], options: dict[str, Any]) -> dict[str, Array]:
    """The inputs by the forward's names for them, in float64, if something can be proven on them."""
    name = name_of(forward)
    if not inputs:
        raise InputError(f"{name} needs at least one differentiable input to check its gradient")
    try:
        signature(forward).bind(*inputs, **options)
    except TypeError as error:
        raise InputError(f"{name} does not take these inputs and options: {error}") from None
    except ValueError:
        pass  # a function that is not written in Python
    found: dict[str, Array] = {}
    for which, value in zip(names_of_inputs(forward, len(inputs)), inputs, strict=True):
        array = np.asarray(value.data if isinstance(value, Tensor) else value)
        if array.dtype.kind != "f":
            raise InputError(
                f"{name}: {which} holds {array.dtype}, and only floating numbers have gradients; pass anything else as "
                "an option, by its name"
            )
        if not array.size or not np.isfinite(array).all():
            raise InputError(f"{name}: {which} {'holds NaN or infinity' if array.size else 'has no element'}")
        found[which] = array.astype(np.float64)
    elements = sum(array.size for array in found.values())
    if elements > MOST_ELEMENTS:
        raise InputError(
            f"{name}: the inputs have {elements} elements, and each costs four forwards; at most {MOST_ELEMENTS} are "
            "checked"
        )
    return found


def _module_and_name(place: str) -> tuple[ModuleType, str]:
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise InputError(f"--pair takes module:f or path/to/file.py:f, not {place!r}")
    path = Path(where)
    is_file = path.suffix == ".py" or path.is_file()
    for folder in (os.getcwd(), str(path.resolve().parent)) if is_file else (os.getcwd(),):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    return (execute(path) if is_file else imported(where)), name
