"""Exercises: operations whose backward the reader writes, from easy to hard.

Each file is copied for the reader: a complete forward, and a backward to write. An answer is checked against central
differences of this forward, because the forward alone determines the gradients. ``ops`` may contain an operation of the
same name, with its backward; neither the file nor the check of an answer uses it.
"""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from handgrad.checking.cases import Options
from handgrad.checking.exercises.cosine_similarity import cosine_similarity, cosine_similarity_backward
from handgrad.checking.exercises.linear_attention import linear_attention, linear_attention_backward
from handgrad.checking.exercises.rms_norm import rms_norm, rms_norm_backward
from handgrad.checking.exercises.rotary import rotary, rotary_backward
from handgrad.checking.exercises.silu import silu, silu_backward
from handgrad.checking.exercises.smoothed_cross_entropy import smoothed_cross_entropy, smoothed_cross_entropy_backward
from handgrad.checking.exercises.swiglu import swiglu, swiglu_backward
from handgrad.checking.numerical import central_differences
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError


@dataclass(frozen=True)
class Exercise:
    """An operation to differentiate, with the inputs and options that answers are checked on."""

    forward: Callable[..., tuple[Array, tuple[Any, ...]]]
    """The exercise's own forward, whose module is the file for the reader; never the one in ``ops``."""
    backward: Callable[..., Any]
    """The backward to write, which raises NotImplementedError."""
    inputs: dict[str, Array]
    """The differentiable inputs, in order and by name, float64."""
    options: Options = field(default=dict)
    """Makes new options for each call; none has its default value, so that an answer must use them."""
    several: ClassVar[bool] = False
    """Each exercise has one output."""

    @property
    def name(self) -> str:
        return self.forward.__name__

    @property
    def upstream(self) -> str:
        """The name that the backward gives the incoming gradient: dy, or d_loss."""
        return next(iter(inspect.signature(self.backward).parameters))

    @property
    def summary(self) -> str:
        """The operation and its idea, in one line."""
        return (ast.get_docstring(ast.parse(self._source)) or "").splitlines()[0].rstrip(".")

    @property
    def text(self) -> str:
        """The content of the file for the reader."""
        return (
            f"# Write {self.name}_backward; handgrad check --exercise {self.name} tells whether it is right.\n"
            f"# What {self.name} saves is yours to change, what it computes is not.\n{self._source}"
        )

    def output(self) -> Array:
        """The output of the forward for the inputs."""
        return self._output_of(self.inputs)

    def numeric_gradient(self, name: str, dy: Array) -> Array:
        """The gradient of Σ dy · output for one input, by central differences."""
        moved = {**self.inputs, name: self.inputs[name].copy()}
        return central_differences(lambda: float((dy * self._output_of(moved)).sum()), moved[name])

    def _output_of(self, inputs: dict[str, Array]) -> Array:
        return np.asarray(self.forward(*inputs.values(), **self.options())[0])

    @property
    def _source(self) -> str:
        module = inspect.getmodule(self.forward)
        assert module is not None
        return inspect.getsource(module)


def all_exercises() -> list[Exercise]:
    """All exercises, from easy to hard, on shapes whose sizes all differ."""
    rng = np.random.default_rng(2031)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape)

    return [
        Exercise(silu, silu_backward, {"x": normal(2, 3, 5)}),
        Exercise(swiglu, swiglu_backward, {"gate": normal(2, 3, 5), "value": normal(2, 3, 5)}),
        Exercise(rotary, rotary_backward, {"x": normal(2, 5, 6)}, lambda: {"base": 50.0}),
        Exercise(rms_norm, rms_norm_backward, {"x": normal(2, 3, 5), "weight": normal(5)}, lambda: {"eps": 0.1}),
        Exercise(cosine_similarity, cosine_similarity_backward, {"a": normal(2, 3, 5), "b": normal(2, 3, 5)}),
        Exercise(
            smoothed_cross_entropy,
            smoothed_cross_entropy_backward,
            {"logits": normal(4, 7)},
            lambda: {"targets": np.array([3, 0, 6, 3]), "smoothing": 0.3},
        ),
        Exercise(
            linear_attention,
            linear_attention_backward,
            {"q": normal(2, 5, 3), "k": normal(2, 5, 3), "v": normal(2, 5, 4)},
        ),
    ]


def exercise_named(name: str) -> Exercise:
    """The exercise of that name. Raises InputError for an unknown name."""
    known = {exercise.name: exercise for exercise in all_exercises()}
    if name not in known:
        raise InputError(f"unknown exercise {name!r}; choose from {', '.join(known)}")
    return known[name]


__all__ = ["Exercise", "all_exercises", "exercise_named"]
