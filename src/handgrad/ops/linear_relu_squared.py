"""max(x W + b, 0)², the first half of a feed-forward network with squared rectified linear units, as one operation."""

from typing import NamedTuple

from handgrad.ops.linear import LinearSaved, linear, linear_backward
from handgrad.ops.precision import Precision
from handgrad.ops.relu import ReluSquaredSaved, relu_squared, relu_squared_backward
from handgrad.system.arrays import Array


class LinearReluSquaredSaved(NamedTuple):
    """What the two operations saved."""

    linear: LinearSaved
    relu_squared: ReluSquaredSaved


def linear_relu_squared(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, LinearReluSquaredSaved]:
    """``y = max(x @ weight + bias, 0)²``: x (..., I), weight (I, O), bias (O,) or None; returns y (..., O).

    It is one operation so that compiled code can add the bias in the loop that applies relu and squares.
    ``precision``: as in linear.

    Raises ValueError as linear does.
    """
    h, linear_saved = linear(x, weight, bias, wanted, precision)
    y, relu_squared_saved = relu_squared(h)
    return y, LinearReluSquaredSaved(linear_saved, relu_squared_saved)


def linear_relu_squared_backward(
    dy: Array, saved: LinearReluSquaredSaved
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients for x, weight and bias: by the chain rule, the two backwards in reverse order."""
    return linear_backward(relu_squared_backward(dy, saved.relu_squared), saved.linear)
