"""Layer normalisation (Ba, Kiros & Hinton 2016, https://arxiv.org/abs/1607.06450)."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_rows
from handgrad.system.arrays import Array


class LayerNormSaved(NamedTuple):
    """x̂ (..., C), 1 / √(var x + eps) (..., 1), and weight."""

    x_hat: Array
    inverse_std: Array
    weight: Array


def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> tuple[Array, LayerNormSaved]:
    """Brings each vector of the last axis to mean 0 and variance 1, then scales and shifts it.

    x (..., C), weight (C,), bias (C,); returns y (..., C) with
        x̂ = (x - mean x) / √(var x + eps),   y = weight · x̂ + bias     (equations 3 and 4 of the paper;
    the variance is the mean square deviation, without Bessel's correction).

    Raises ValueError if weight or bias has another shape.
    """
    check_layer_norm(x, weight, bias)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    inverse_std = 1 / np.sqrt(variance + eps)
    x_hat = np.multiply(centred, inverse_std, out=centred)
    y = x_hat * weight
    y += bias
    return y, LayerNormSaved(x_hat, inverse_std, weight)


def layer_norm_backward(dy: Array, saved: LayerNormSaved) -> tuple[Array, Array, Array]:
    """Gradients of layer_norm for x, weight and bias.

    Weight and bias act elementwise: d_weight = Σ dy · x̂ and d_bias = Σ dy over all but the last axis, and x̂ gets
    dx̂ = dy · weight. Now x̂ = (x - μ) / σ, and both μ and σ = √(var + eps) depend on every x_j of the vector:
        ∂x̂_i/∂x_j = (δ_ij - 1/C - x̂_i x̂_j / C) / σ,     as ∂μ/∂x_j = 1/C and ∂σ/∂x_j = x̂_j / C.
    Summed over i against dx̂_i:
        dx = (dx̂ - mean(dx̂) - x̂ · mean(dx̂ · x̂)) / σ.
    In words: dx̂ minus its part along the constant vector and its part along x̂, the two directions that normalising
    removes (x̂ completely only if eps is 0; the formula holds for any eps).
    """
    x_hat, inverse_std, weight = saved
    d_weight = as_rows(dy * x_hat).sum(axis=0)
    d_bias = as_rows(dy).sum(axis=0)
    d_x_hat = dy * weight
    along_x_hat = (d_x_hat * x_hat).mean(axis=-1, keepdims=True)
    dx = d_x_hat - d_x_hat.mean(axis=-1, keepdims=True)
    dx -= x_hat * along_x_hat
    dx *= inverse_std
    return dx, d_weight, d_bias


def check_layer_norm(x: Array, weight: Array, bias: Array) -> None:
    """Raises the errors that layer_norm lists."""
    for name, array in (("weight", weight), ("bias", bias)):
        if array.shape != x.shape[-1:]:
            raise ValueError(f"layer_norm: {name} must have shape {x.shape[-1:]}, as x is {x.shape}, not {array.shape}")
