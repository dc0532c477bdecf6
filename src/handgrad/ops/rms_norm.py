"""Root mean square normalisation (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467)."""

import math
from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_rows
from handgrad.system.arrays import Array


class RmsNormSaved(NamedTuple):
    """x̂ and weight with the normalised axes as one, (..., C) and (C,), 1 / √(mean x² + eps) (..., 1), and more."""

    x_hat: Array
    inverse_rms: Array
    weight: Array | None
    shape: tuple[int, ...]
    axes: int


def rms_norm(x: Array, weight: Array | None = None, eps: float = 1e-5, axes: int = 1) -> tuple[Array, RmsNormSaved]:
    """Brings each vector of the last axis to a root mean square of 1, then scales it.

    x (..., C), weight (C,) or None; returns y (..., C) with
        x̂ = x / √(mean x² + eps),   y = weight · x̂     (equation 4 of the paper, with eps against a division by 0).
    It is layer_norm without the mean and the bias. If ``axes`` is above 1, the elements of so many last axes are one
    vector, and weight has the shape of these axes. PyTorch's default for eps is that of the dtype, 1.2e-7 for float32.

    Raises ValueError if weight has another shape.
    """
    check_rms_norm(x, weight, axes)
    vectors = x.reshape(*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :]))
    mean_square = np.square(vectors).mean(axis=-1, keepdims=True)
    inverse_rms = 1 / np.sqrt(mean_square + eps)
    x_hat = vectors * inverse_rms
    gain = None if weight is None else weight.reshape(-1)
    y = x_hat if gain is None else x_hat * gain
    return y.reshape(x.shape), RmsNormSaved(x_hat, inverse_rms, gain, x.shape, axes)


def rms_norm_backward(dy: Array, saved: RmsNormSaved) -> tuple[Array, Array | None]:
    """Gradients of rms_norm for x and weight; None for a weight that is missing.

    The weight acts elementwise: d_weight = Σ dy · x̂ over all but the last axis, and x̂ gets dx̂ = dy · weight. Now
    x̂ = x / ρ, and ρ = √(mean x² + eps) depends on every x_j of the vector, by ∂ρ/∂x_j = x_j / (C ρ) = x̂_j / C:
        ∂x̂_i/∂x_j = (δ_ij - x̂_i x̂_j / C) / ρ.
    Summed over i against dx̂_i:
        dx = (dx̂ - x̂ · mean(dx̂ · x̂)) / ρ.
    In words: dx̂ minus its part along x̂, the direction that normalising removes (completely only if eps is 0; the
    formula holds for any eps).
    """
    x_hat, inverse_rms, weight, shape, axes = saved
    dy = dy.reshape(x_hat.shape)
    d_weight = None if weight is None else as_rows(dy * x_hat).sum(axis=0).reshape(shape[len(shape) - axes :])
    d_x_hat = dy if weight is None else dy * weight
    along_x_hat = (d_x_hat * x_hat).mean(axis=-1, keepdims=True)
    dx = d_x_hat - x_hat * along_x_hat
    dx *= inverse_rms
    return dx.reshape(shape), d_weight


def check_rms_norm(x: Array, weight: Array | None, axes: int) -> None:
    """Raises the errors that rms_norm lists."""
    if not 1 <= axes <= x.ndim:
        raise ValueError(f"rms_norm: axes must lie in [1, {x.ndim}], as x has shape {x.shape}, not {axes}")
    shape = x.shape[x.ndim - axes :]
    if weight is not None and weight.shape != shape:
        raise ValueError(f"rms_norm: weight must have shape {shape}, as x is {x.shape}, not {weight.shape}")
