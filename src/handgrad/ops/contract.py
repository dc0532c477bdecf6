"""What a pair must do, checked on every call: for pairs that users write. Those of ``ops`` are proven instead.

A user's pair gets views that cannot be written to, so a change of an input in place raises an error. What it returns is
checked in count, shape and dtype, and is memory of its own.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from handgrad.ops.shapes import is_array
from handgrad.system.arrays import Array

Kind = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and dtype."""

_FLOATS = (np.float32, np.float64)


class OwnSaved(NamedTuple):
    """What a user's forward saved, and what its backward must return."""

    saved: Any
    arrays: tuple[Array, ...]
    """The arrays in it, also those in lists and dictionaries: the tape notices if one is changed in place."""
    outputs: tuple[Kind, ...]
    several: bool
    """Whether the forward returned a tuple of outputs."""
    inputs: tuple[Kind | None, ...]
    names: tuple[str, ...]
    """The forward's names for its inputs."""


def name_of(function: Callable[..., Any]) -> str:
    """A function's name; that of the class for other objects that can be called."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def names_of_inputs(forward: Callable[..., Any], n: int) -> tuple[str, ...]:
    """The forward's names for its first n arguments, as far as it has names for them."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # a function that is not written in Python
        parameters = []
    named = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return tuple(named[i] if i < len(named) else f"input {i}" for i in range(n))


def checked_pair(pair: tuple[Any, ...]) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
    """The name of a user's pair ``(f, f_backward)``, and both functions with checks around them.

    Raises TypeError if the tuple is not two functions.
    """
    if len(pair) != 2 or not all(map(callable, pair)):
        kinds = ", ".join("a function" if callable(one) else _described(one) for one in pair)
        raise TypeError(f"apply: a pair is two functions, (f, f_backward), not ({kinds})")
    forward, backward = pair
    return name_of(forward), partial(_forward, forward), partial(_backward, backward)


def arrays_within(value: Any) -> Iterator[Array]:
    """Every array in nested tuples, lists and dictionaries."""
    if is_array(value):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_within(part)


def _forward(f: Callable[..., Any], /, *inputs: Any, **options: Any) -> tuple[Any, OwnSaved]:
    name = name_of(f)
    returned = _run(f, *map(_read_only, inputs), **{key: _read_only(value) for key, value in options.items()})
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError(f"{name} must return a pair, (output, saved), not {_described(returned)}")
    output, saved = returned
    several = isinstance(output, tuple)
    outputs = tuple(_own_output(name, array) for array in (output if several else (output,)))
    kinds = tuple((x.shape, x.dtype) if is_array(x) else None for x in inputs)
    made = tuple((array.shape, array.dtype) for array in outputs)
    names = names_of_inputs(f, len(inputs))
    return (outputs if several else outputs[0]), OwnSaved(
        saved, tuple(arrays_within(saved)), made, several, kinds, names
    )


def _own_output(name: str, output: Any) -> Array:
    if not (is_array(output) or isinstance(output, np.generic)) or output.dtype not in _FLOATS:
        raise TypeError(f"{name} must return an output of float32 or float64, not {_described(output)}")
    return _own(output)


def _backward(f_backward: Callable[..., Any], dy: Any, saved: OwnSaved) -> tuple[Array | None, ...]:
    """One gradient for each input, or None; the user's function gets zeros for an output that nobody used."""
    name = name_of(f_backward)
    dys = [
        np.zeros(shape, dtype) if each is None else _read_only(each)
        for each, (shape, dtype) in zip(dy if saved.several else (dy,), saved.outputs, strict=True)
    ]
    returned = _run(f_backward, tuple(dys) if saved.several else dys[0], saved.saved)
    gradients = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    n = len(saved.inputs)
    # As in ``ops``, optional inputs come last: there may be a None for each that was left out.
    if len(gradients) < n or any(gradient is not None for gradient in gradients[n:]):
        raise ValueError(wrong_count(name, len(gradients), saved.names))
    return tuple(
        None if gradient is None else _own_gradient(name, gradient, kind, which)
        for gradient, kind, which in zip(gradients[:n], saved.inputs, saved.names, strict=True)
    )


def wrong_count(name: str, n: int, inputs: Sequence[str]) -> str:
    """The sentence for a backward that returns another number of gradients than there are inputs."""
    return (
        f"{name} returns {n} gradient{'s' * (n != 1)}; {len(inputs)} {'is' if len(inputs) == 1 else 'are'} needed, "
        f"for {', '.join(inputs)}"
    )


def _own_gradient(name: str, gradient: Any, kind: Kind | None, which: str) -> Array:
    if isinstance(gradient, float | np.generic):
        gradient = np.asarray(gradient)
    if not is_array(gradient):
        raise TypeError(f"{name} must return an array as the gradient for {which}, not {_described(gradient)}")
    if kind is None:
        return gradient
    shape, dtype = kind
    if gradient.shape != shape:
        stretched = _stretches(shape, gradient.shape)
        advice = "; sum it over the axes along which the input was repeated" if stretched else ""
        raise ValueError(
            f"{name} returns a gradient of shape {gradient.shape} for {which}, whose shape is {shape}{advice}"
        )
    if gradient.dtype != dtype:
        raise TypeError(
            f"{name} returns a gradient of {gradient.dtype} for {which}, which is {dtype}; it must keep the dtype"
        )
    return _own(gradient)


def _stretches(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether broadcasting stretches an array of one shape to the other."""
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _run(function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except ValueError as error:
        if "read-only" in str(error):
            raise ValueError(
                f"{name_of(function)} writes into an array that it was given ({error}); let it make a new array"
            ) from error
        raise


def _read_only(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


def _own(array: Any) -> Any:
    """The array itself, or a copy of one that cannot be written to, as a view of an input."""
    if isinstance(array, np.ndarray | np.generic) and not array.flags.writeable:
        return np.array(array)
    return array


def _described(value: Any) -> str:
    if is_array(value) or isinstance(value, np.generic):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
