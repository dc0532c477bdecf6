"""Mean squared error."""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from handgrad.ops.shapes import Kind, as_array, kind_of, unbroadcast
from handgrad.system.arrays import Array

Reduction: TypeAlias = Literal["mean", "sum", "none"]


class MseSaved(NamedTuple):
    """prediction - target, shape and dtype of both, and the reduction."""

    difference: Array
    prediction: Kind
    target: Kind
    reduction: Reduction


def mse(prediction: Array, target: Array, reduction: Reduction = "mean") -> tuple[Array, MseSaved]:
    """(prediction - target)²: the mean over all elements ("mean"), their sum ("sum"), or each element ("none").

    Raises ValueError if the shapes differ (broadcasting here is nearly always a mistake) or for any other reduction.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"mse: prediction {prediction.shape} and target {target.shape} must have the same shape")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'mse: reduction must be "mean", "sum" or "none", not {reduction!r}')
    difference = prediction - target
    saved = MseSaved(difference, kind_of(prediction), kind_of(target), reduction)
    squares = np.square(difference)
    if reduction == "none":
        return squares, saved
    total = squares.sum()
    with np.errstate(invalid="ignore"):
        return as_array(total if reduction == "sum" else total / total.dtype.type(squares.size)), saved


def mse_backward(d_loss: Array | float, saved: MseSaved) -> tuple[Array | None, Array | None]:
    """∂(p - t)²/∂p = 2 (p - t), and the negative of it for t; the mean divides both by n."""
    difference, prediction, target, reduction = saved
    slope = as_array(2 * difference * d_loss).astype(difference.dtype, copy=False)
    if reduction == "mean":
        slope = slope / slope.dtype.type(max(slope.size, 1))
    return unbroadcast(slope, prediction), None if target is None else unbroadcast(-slope, target)
