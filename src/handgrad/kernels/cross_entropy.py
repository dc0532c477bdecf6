"""Cross entropy from the logits, compiled. Defined by ``ops.cross_entropy``."""

from typing import NamedTuple

import numpy as np

from handgrad.kernels.array_arguments import rows_of
from handgrad.kernels.exponential import exp32
from handgrad.ops.cross_entropy import Reduction, check_targets, reduced, weight_of_rows
from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)
_MINUS_INFINITY = np.float32(-np.inf)


class Saved(NamedTuple):
    """What the backward needs: probabilities (N, V), and for each row its label and whether it counts (N,)."""

    probabilities: Array
    labels: Array
    counted: Array
    shape: tuple[int, ...]
    reduction: Reduction


def cross_entropy(
    logits: Array, targets: Array, ignore_index: int = -100, reduction: Reduction = "mean"
) -> tuple[Array, Saved]:
    """As ``ops.cross_entropy``."""
    targets = np.asarray(targets)
    check_targets(logits, targets, ignore_index, reduction)
    rows, labels = rows_of(logits), targets.reshape(-1)
    counted = labels != ignore_index
    labels = np.where(counted, labels, 0)
    probabilities, tops, totals = np.empty_like(rows), *np.empty((2, len(rows)), rows.dtype)
    _forward(rows, probabilities, tops, totals)
    # The difference of large numbers comes first, and NumPy makes it: compiled code may regroup the three terms, which
    # loses the loss if the logits are large.
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, as in the loops
        at_target = np.take_along_axis(rows, labels[:, None], axis=-1)[:, 0] - tops
        losses = np.where(counted, np.log(totals) - at_target, _ZERO)
    saved = Saved(probabilities, labels, counted, logits.shape, reduction)
    return reduced(losses.reshape(targets.shape), counted, reduction), saved


def cross_entropy_backward(d_loss: Array | float, saved: Saved) -> Array:
    """As ``ops.cross_entropy_backward``."""
    probabilities, labels, counted, shape, reduction = saved
    d_logits = np.empty_like(probabilities)
    _backward(probabilities, labels, weight_of_rows(d_loss, counted, reduction, probabilities.dtype), d_logits)
    return d_logits.reshape(shape)


@compiled
def _forward(logits, probabilities, tops, totals):  # type: ignore[no-untyped-def]
    N, V = logits.shape
    for n in range(N):
        largest = _MINUS_INFINITY
        for v in range(V):
            largest = max(largest, logits[n, v])
        total = _ZERO
        for v in range(V):
            part = exp32(logits[n, v] - largest)
            probabilities[n, v] = part
            total += part
        tops[n], totals[n] = largest, total
        scale = _ONE / total
        for v in range(V):
            probabilities[n, v] *= scale


@compiled
def _backward(probabilities, labels, weight, d_logits):  # type: ignore[no-untyped-def]
    for n in range(probabilities.shape[0]):
        for v in range(probabilities.shape[1]):
            d_logits[n, v] = probabilities[n, v] * weight[n]
        d_logits[n, labels[n]] -= weight[n]
