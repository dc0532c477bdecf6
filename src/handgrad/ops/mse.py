"""Mean squared error."""

from typing import Any, Literal

import numpy as np

from handgrad.arrays import Array
from handgrad.ops.shapes import kind_of, unbroadcast


def mse(
    prediction: Array, target: Array, reduction: Literal["mean", "sum", "none"] = "mean"
) -> tuple[Array, tuple[Any, ...]]:
    """(prediction - target)², its mean over all elements ("mean"), its sum, or each of them ("none").

    Raises ValueError where the shapes differ (broadcasting here is nearly always a mistake) or for another reduction.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"mse: prediction {prediction.shape} and target {target.shape} must have the same shape")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'mse: reduction must be "mean", "sum" or "none", not {reduction!r}')
    difference = prediction - target
    saved = (difference, kind_of(prediction), kind_of(target), reduction)
    squares = np.square(difference)
    if reduction == "none":
        return squares, saved
    total = squares.sum()
    with np.errstate(invalid="ignore"):
        return np.asarray(total if reduction == "sum" else total / total.dtype.type(squares.size)), saved


def mse_backward(d_loss: Array | float, saved: tuple[Any, ...]) -> tuple[Array | None, Array | None]:
    """∂(p - t)²/∂p = 2 (p - t), and its opposite for t; the mean gives each a share of 1/n."""
    difference, prediction, target, reduction = saved
    slope = np.asarray(2 * difference * d_loss, difference.dtype)
    if reduction == "mean":
        slope = slope / slope.dtype.type(max(slope.size, 1))
    return unbroadcast(slope, prediction), None if target is None else unbroadcast(-slope, target)
