"""Explains what is wrong with a gradient, and says only what the numbers prove."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from handgrad.checking.numerical import relative_error
from handgrad.checking.results import TOLERANCE
from handgrad.system.arrays import Array

Again = Callable[[Array], list[Any] | None]
"""The answer's gradients for another dy; None if its backward fails."""

_MOST_PAIRS = 5_000
"""Of an output and an input: beyond that, they are not compared one by one."""
_NOTHING, _SOMETHING = 1e-9, 1e-6
"""A derivative below the first is rounding; one above the second is not."""


class Subject(Protocol):
    """What is differentiated: a forward with its inputs."""

    @property
    def inputs(self) -> Mapping[str, Array]: ...
    @property
    def upstream(self) -> str:
        """The backward's name for ∂L/∂output."""
        ...

    @property
    def several(self) -> bool:
        """Whether it returns several outputs, here one vector."""
        ...

    def output(self) -> Array: ...
    def numeric_gradient(self, name: str, dy: Array) -> Array:
        """The gradient of Σ dy · output for one input, by central differences."""
        ...


def error_of(gradient: Any, numeric: Array) -> float:
    """The relative error of what a backward returned; infinity for what is no floating array of that shape."""
    array = floating_array(gradient)
    with np.errstate(invalid="ignore"):  # infinity divided by infinity
        return float("inf") if array is None else relative_error(array, numeric)


def floating_array(value: Any) -> Array | None:
    """A floating array, or a number as one; None for anything else."""
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | float) else None
    return array if array is not None and array.dtype.kind == "f" else None


def what_is_wrong(subject: Subject, name: str, found: list[Any], right: Mapping[str, Array], again: Again) -> str:
    """A sentence about the gradient for input ``name``, which is wrong."""
    position = list(right).index(name)
    gradient, expected = floating_array(found[position]), right[name]
    if gradient is None:
        kind = getattr(found[position], "dtype", type(found[position]).__name__)
        return f"the gradient for {name} must be an array of floating numbers, of shape {expected.shape}, not {kind}"
    if gradient.shape != expected.shape:
        advice = _of_another_shape(gradient, expected)
        return f"the gradient for {name} has shape {gradient.shape} where {name} has {expected.shape}{advice}"
    if not np.isfinite(gradient).all():
        kind = "NaN" if np.isnan(gradient).any() else "infinity"
        return f"the gradient for {name} holds {kind}"
    if not gradient.any():
        return f"the gradient for {name} is zero throughout"
    return (
        _as_function_of_dy(subject, name, position, gradient, again)
        or _multiple(name, gradient, expected)
        or _of_another_input(name, gradient, right)
        or _in_another_order(name, gradient, expected)
        or _multiple_in_each_row(name, gradient, expected)
        or _output_by_output(subject, name, position, again)
        or _where_it_is_furthest(name, gradient, expected)
    )


def _same(a: Array, b: Array) -> bool:
    return relative_error(a, b) <= TOLERANCE


def _of_another_shape(gradient: Array, expected: Array) -> str:
    more = gradient.ndim - expected.ndim
    if more > 0 and _same(gradient.sum(axis=tuple(range(more))), expected):
        axes = "axis 0" if more == 1 else f"axes {', '.join(map(str, range(more - 1)))} and {more - 1}"
        return f"; its sum over {axes} would be right: what is used many times gets the sum over its uses"
    if gradient.ndim >= 2 and _same(gradient.swapaxes(-1, -2), expected):
        return "; with its last two axes swapped it would be right"
    return ""


def _multiple(name: str, gradient: Array, expected: Array) -> str:
    factor = float((gradient * expected).sum() / np.square(expected).sum())
    if not factor or not _same(gradient / factor, expected):
        return ""
    if abs(factor + 1) <= TOLERANCE:
        return f"the gradient for {name} is the negative of what it should be"
    return f"the gradient for {name} is {_plain(factor)} times what it should be"


def _plain(factor: float) -> str:
    """A factor as people write it: 6, 1/6 or 1.732."""
    whole, parts = round(factor), round(1 / factor)
    if abs(factor - whole) <= TOLERANCE * abs(factor):
        return str(whole)
    if abs(1 / factor - parts) <= TOLERANCE / abs(factor):
        return f"1/{parts}" if parts > 0 else f"-1/{-parts}"
    return f"{factor:.4g}"


def _of_another_input(name: str, gradient: Array, right: Mapping[str, Array]) -> str:
    for other, expected in right.items():
        if other != name and _same(gradient, expected):
            return f"the gradient for {name} is that for {other}: they are returned in order, {', '.join(right)}"
    return ""


def _in_another_order(name: str, gradient: Array, expected: Array) -> str:
    if _same(np.sort(gradient, axis=None), np.sort(expected, axis=None)):
        return (
            f"the gradient for {name} holds the right numbers in the wrong places, "
            "as after a reshape where a transpose belongs"
        )
    return ""


def _as_function_of_dy(subject: Subject, name: str, position: int, gradient: Array, again: Again) -> str:
    dy, draw = subject.upstream, np.random.default_rng(19)
    first, second = (np.asarray(draw.standard_normal(subject.output().shape)) for _ in range(2))
    answers = [again(value) for value in (first, second, first + second)]
    a, b, both = (None if answer is None else floating_array(answer[position]) for answer in answers)
    if a is None or b is None or both is None or not a.shape == b.shape == both.shape == gradient.shape:
        return ""
    if _same(a, gradient) and _same(b, gradient):
        return f"the gradient for {name} does not depend on {dy}: by the chain rule it enters every gradient"
    if not _same(a + b, both):
        return (
            f"the gradient for {name} is not linear in {dy}: "
            f"what {dy} is multiplied with must not depend on {dy}, and nothing be added"
        )
    return ""


def _multiple_in_each_row(name: str, gradient: Array, expected: Array) -> str:
    if gradient.shape[-1] < 2:
        return ""
    factors = (gradient * expected).sum(axis=-1, keepdims=True) / np.square(expected).sum(axis=-1, keepdims=True)
    if not _same(gradient, factors * expected):
        return ""
    return (
        f"each row of the gradient for {name} is a multiple of what it should be, "
        f"by factors from {factors.min():.4g} to {factors.max():.4g}"
    )


def _output_by_output(subject: Subject, name: str, position: int, again: Again) -> str:
    """Compares ∂y/∂x, for each element of the output and of the input, with the gradient for a dy of 1 there."""
    dy, y = subject.upstream, "loss" if subject.upstream == "d_loss" else "y"
    shape, x = subject.output().shape, subject.inputs[name]
    if subject.several or math.prod(shape) * x.size > _MOST_PAIRS:
        return ""
    moved, returned = np.empty((*shape, *x.shape)), np.empty((*shape, *x.shape))
    for index in np.ndindex(shape):
        one = np.zeros(shape)
        one[index] = 1
        answer = again(one)
        gradient = None if answer is None else floating_array(answer[position])
        if gradient is None or gradient.shape != x.shape:
            return ""
        moved[index], returned[index] = subject.numeric_gradient(name, one), gradient
    off = np.abs(moved - returned)
    # If several places are equally far off, up to their last bits, the first is named.
    furthest = (off >= (1 - _SOMETHING) * off.max()) & (off > TOLERANCE * np.abs(moved).max())
    for places, sentence in (
        (
            _only_in_first(moved, returned),
            "{y} depends on {x}, but {dy} does not reach the gradient there: a path is missing",
        ),
        (_only_in_first(returned, moved), "{dy} reaches the gradient for {x}, but {y} does not depend on {x}"),
        (furthest, "{y} moves {moved} times as far as {x}, where the gradient takes {dy} times {returned}"),
    ):
        if places.any():
            place = tuple(np.argwhere(places)[0])
            at_y, at_x = _index(place[: len(shape)]), _index(place[len(shape) :])
            moves, takes = _told_apart(moved[place], returned[place])
            told = sentence.format(y=y + at_y, dy=dy + at_y, x=name + at_x, moved=moves, returned=takes)
            return f"the gradient for {name} is wrong: {told}"
    return ""


def _only_in_first(a: Array, b: Array) -> Array:
    """The places where the first is not zero and the second is."""
    only: Array = (np.abs(a) > _SOMETHING) & (np.abs(b) < _NOTHING)
    return only


def _where_it_is_furthest(name: str, gradient: Array, expected: Array) -> str:
    index = np.unravel_index(np.abs(gradient - expected).argmax(), expected.shape)
    is_, should_be = _told_apart(float(gradient[index]), float(expected[index]))
    return (
        f"the gradient for {name} is wrong: furthest at {name}{_index(index)}, "
        f"where it is {is_} and should be {should_be}"
    )


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers with the fewest digits that tell them apart, four at least."""
    for digits in range(4, 17):
        found = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if found[0] != found[1]:
            break
    return found


def _index(index: Any) -> str:
    """An index as Python writes it; empty for a scalar."""
    return f"[{', '.join(map(str, index))}]" if len(index) else ""
