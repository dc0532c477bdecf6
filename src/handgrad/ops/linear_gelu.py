"""gelu(x W + b), the first half of a transformer's feed-forward network, as one operation."""

from typing import NamedTuple

from handgrad.ops.gelu import Approximate, GeluSaved, gelu, gelu_backward
from handgrad.ops.linear import LinearSaved, linear, linear_backward
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array


class LinearGeluSaved(NamedTuple):
    """What the two operations saved."""

    linear: LinearSaved
    gelu: GeluSaved


def linear_gelu(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    approximate: Approximate = "tanh",
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, LinearGeluSaved]:
    """``y = gelu(x @ weight + bias)``: x (..., I), weight (I, O), bias (O,) or None; returns y (..., O).

    It is one operation so that compiled code can add the bias in the loop that applies gelu.
    ``precision``: as in linear.

    Raises ValueError as linear and gelu do.
    """
    h, linear_saved = linear(x, weight, bias, wanted, precision)
    y, gelu_saved = gelu(h, approximate)
    return y, LinearGeluSaved(linear_saved, gelu_saved)


def linear_gelu_backward(dy: Array, saved: LinearGeluSaved) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of linear_gelu for x, weight and bias: by the chain rule, the two backwards in reverse order."""
    return linear_backward(gelu_backward(dy, saved.gelu), saved.linear)
