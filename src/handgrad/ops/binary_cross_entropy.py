"""Binary cross entropy: how surprised a model is by answers that are yes or no."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.cross_entropy import Reduction
from handgrad.ops.elementwise import sigmoid
from handgrad.ops.shapes import Kind, as_array, kind_of, unbroadcast
from handgrad.system.arrays import Array

Gradients = tuple[Array | None, Array | None]
_LEAST_LOG = -100.0
"""The smallest logarithm that counts, as in PyTorch: a probability of 0 costs 100, not infinity."""


class BinaryCrossEntropySaved(NamedTuple):
    """The probabilities or logits, the targets, and the reduction."""

    x: Array
    target: Array
    kind_x: Kind
    kind_target: Kind
    reduction: Reduction


def binary_cross_entropy(
    probabilities: Array, target: Array, reduction: Reduction = "mean"
) -> tuple[Array, BinaryCrossEntropySaved]:
    """-t log p - (1 - t) log(1 - p) for probabilities p and targets t in [0, 1] of one shape; averaged.

    Logarithms below -100 count as -100.

    Raises ValueError if the shapes differ, or for a probability outside [0, 1].
    """
    _check("binary_cross_entropy", probabilities, target, reduction)
    if np.any((probabilities < 0) | (probabilities > 1)):
        raise ValueError(
            "binary_cross_entropy: probabilities must lie in [0, 1]; for logits use binary_cross_entropy_with_logits"
        )
    with np.errstate(divide="ignore"):
        yes = np.maximum(np.log(probabilities), _LEAST_LOG)
        no = np.maximum(np.log1p(-probabilities), _LEAST_LOG)
    return _reduced(-target * yes - (1 - target) * no, reduction), _saved(probabilities, target, reduction)


def binary_cross_entropy_backward(d_loss: Array | float, saved: BinaryCrossEntropySaved) -> Gradients:
    """∂L/∂p = -t/p + (1 - t)/(1 - p) = (p - t) / (p (1 - p)), and ∂L/∂t = log(1 - p) - log p.

    The denominator is at least 1e-12, as in PyTorch.
    """
    p, target, kind_p, kind_target, reduction = saved
    each = _weight(d_loss, p, reduction)
    dp = each * (p - target) / np.maximum(p * (1 - p), 1e-12)
    if kind_target is None:
        return unbroadcast(dp, kind_p), None
    with np.errstate(divide="ignore"):
        d_target = each * (np.maximum(np.log1p(-p), _LEAST_LOG) - np.maximum(np.log(p), _LEAST_LOG))
    return unbroadcast(dp, kind_p), unbroadcast(d_target, kind_target)


def binary_cross_entropy_with_logits(
    logits: Array, target: Array, reduction: Reduction = "mean"
) -> tuple[Array, BinaryCrossEntropySaved]:
    """The same from logits z, p = 1 / (1 + e⁻ᶻ): L = max(z, 0) - z t + log(1 + e^-|z|), which cannot overflow.

    Raises ValueError if the shapes differ.
    """
    _check("binary_cross_entropy_with_logits", logits, target, reduction)
    losses = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.absolute(logits)))
    return _reduced(losses, reduction), _saved(logits, target, reduction)


def binary_cross_entropy_with_logits_backward(d_loss: Array | float, saved: BinaryCrossEntropySaved) -> Gradients:
    """L = log(1 + eᶻ) - z t gives ∂L/∂z = p - t, with p = 1 / (1 + e⁻ᶻ), and ∂L/∂t = -z."""
    z, target, kind_z, kind_target, reduction = saved
    each = _weight(d_loss, z, reduction)
    dz = each * (sigmoid(z)[0] - target)
    return unbroadcast(dz, kind_z), None if kind_target is None else unbroadcast(-each * z, kind_target)


def _check(name: str, x: Array, target: Array, reduction: str) -> None:
    if x.shape != target.shape:
        raise ValueError(f"{name}: the input {x.shape} and the target {target.shape} must have the same shape")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", not {reduction!r}')


def _saved(x: Array, target: Array, reduction: Reduction) -> BinaryCrossEntropySaved:
    return BinaryCrossEntropySaved(x, target, kind_of(x), kind_of(target), reduction)


def _reduced(losses: Array, reduction: Reduction) -> Array:
    if reduction == "none":
        return losses
    total = losses.sum()
    with np.errstate(invalid="ignore"):
        return as_array(total if reduction == "sum" else total / total.dtype.type(losses.size))


def _weight(d_loss: Array | float, x: Array, reduction: Reduction) -> Array:
    each = as_array(d_loss).astype(x.dtype, copy=False)
    return each / x.dtype.type(max(x.size, 1)) if reduction == "mean" else each
