"""Cross entropy computed from the logits, fused with softmax."""

from typing import Any, Literal, NamedTuple

import numpy as np

from handgrad.ops.shapes import as_array, as_rows, largest
from handgrad.system.arrays import Array

Reduction = Literal["mean", "sum", "none"]


class CrossEntropySaved(NamedTuple):
    """Probabilities (N, V) and labels (N,) by rows, whether a row counts (its target is not ignored), and options."""

    probabilities: Array
    labels: Array
    counted: Array
    shape: tuple[int, ...]
    reduction: Reduction


def cross_entropy(
    logits: Array, targets: Array, ignore_index: int = -100, reduction: Reduction = "mean"
) -> tuple[Array, CrossEntropySaved]:
    """-log softmax(logits)[target] in nats: how surprised the model is by the right answer.

    logits (..., V); targets (...) are integers in [0, V) or ``ignore_index``. Reduction "mean" (over the targets
    that are not ignored; NaN if all are) and "sum" return a scalar, "none" an array of the targets' shape.

    Raises ValueError if shapes do not match, TypeError for targets that are not integers, IndexError for a target
    outside [0, V).
    """
    targets = as_array(targets)
    check_targets(logits, targets, ignore_index, reduction)
    rows, labels = as_rows(logits), targets.reshape(-1)
    counted = labels != ignore_index
    labels = np.where(counted, labels, 0)
    probabilities = rows - largest(rows, -1)
    at_target = np.take_along_axis(probabilities, labels[:, None], axis=-1)[:, 0]
    np.exp(probabilities, out=probabilities)
    normaliser = probabilities.sum(axis=-1)
    probabilities /= normaliser[:, None]
    losses = np.where(counted, np.log(normaliser) - at_target, 0)
    saved = CrossEntropySaved(probabilities, labels, counted, logits.shape, reduction)
    return reduced(losses.reshape(targets.shape), counted, reduction), saved


def cross_entropy_backward(d_loss: Array | float, saved: CrossEntropySaved) -> Array:
    """Gradient of cross_entropy for the logits z.

    For one row, L = log Σ_j exp(z_j) - z_t. The derivative of the first term is the softmax p, so
        dz = p - onehot(t):
    a step against it moves probability from the predictions to the target. Each row is multiplied by d_loss ("sum";
    for "none" the row's own), by d_loss / count ("mean"), or by 0 if its target is ignored.
    """
    probabilities, labels, counted, shape, reduction = saved
    weight = weight_of_rows(d_loss, counted, reduction, probabilities.dtype)
    d_logits: Array = probabilities * weight[:, None]
    d_logits[np.arange(labels.size, like=labels), labels] -= weight
    return d_logits.reshape(shape)


def reduced(losses: Array, counted: Array, reduction: Reduction) -> Array:
    """Reduces the losses of all targets; the losses of ignored targets are 0."""
    if reduction == "none":
        return losses
    total = losses.sum()
    with np.errstate(invalid="ignore"):
        return as_array(total if reduction == "sum" else total / counted.sum().astype(total.dtype))


def weight_of_rows(d_loss: Array | float, counted: Array, reduction: Reduction, dtype: np.dtype[Any]) -> Array:
    """∂L/∂loss of each row, flat."""
    weight = counted.astype(dtype)
    if reduction == "mean":
        weight /= max(int(counted.sum()), 1)
    weight *= np.asarray(d_loss, dtype=dtype, like=counted).reshape(-1)
    return weight


def check_targets(logits: Array, targets: Array, ignore_index: int, reduction: str) -> None:
    """Raises the errors that cross_entropy lists."""
    if targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits {logits.shape} need targets of shape {logits.shape[:-1]}, not {targets.shape}"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets must be integers, not {targets.dtype}")
    if targets.size and not logits.shape[-1]:
        raise IndexError(f"cross_entropy: logits {logits.shape} have no classes")
    outside = (targets != ignore_index) & ((targets < 0) | (targets >= logits.shape[-1]))
    if outside.any():
        raise IndexError(
            f"cross_entropy: target {int(targets[outside][0])} is neither a class in [0, {logits.shape[-1]}) "
            f"nor ignore_index {ignore_index}"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'cross_entropy: reduction must be "mean", "sum" or "none", not {reduction!r}')
