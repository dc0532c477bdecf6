"""max(x W + b, 0), the first half of a feed-forward network with rectified linear units, as one operation."""

from typing import NamedTuple

from handgrad.ops.linear import LinearSaved, linear, linear_backward
from handgrad.ops.precision import Precision
from handgrad.ops.relu import ReluSaved, relu, relu_backward
from handgrad.system.arrays import Array


class LinearReluSaved(NamedTuple):
    """What the two operations saved."""

    linear: LinearSaved
    relu: ReluSaved


def linear_relu(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    wanted: tuple[bool, ...] = (True, True, True),
    precision: Precision = "float32",
) -> tuple[Array, LinearReluSaved]:
    """``y = max(x @ weight + bias, 0)``: x (..., I), weight (I, O), bias (O,) or None; returns y (..., O).

    It is one operation so that compiled code can add the bias in the loop that applies relu.
    ``precision``: as in linear.

    Raises ValueError as linear does.
    """
    h, linear_saved = linear(x, weight, bias, wanted, precision)
    y, relu_saved = relu(h)
    return y, LinearReluSaved(linear_saved, relu_saved)


def linear_relu_backward(dy: Array, saved: LinearReluSaved) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of linear_relu for x, weight and bias: by the chain rule, the two backwards in reverse order."""
    return linear_backward(relu_backward(dy, saved.relu), saved.linear)
