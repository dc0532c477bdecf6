"""Layer normalisation (Ba, Kiros & Hinton 2016, https://arxiv.org/abs/1607.06450)."""

import math
from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_rows
from handgrad.system.arrays import Array


class LayerNormSaved(NamedTuple):
    """x̂ and weight with the normalised axes as one, (..., C) and (C,), 1 / √(var x + eps) (..., 1), and more."""

    x_hat: Array
    inverse_std: Array
    weight: Array | None
    has_bias: bool
    shape: tuple[int, ...]
    axes: int


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5, axes: int = 1
) -> tuple[Array, LayerNormSaved]:
    """Brings each vector of the last axis to mean 0 and variance 1, then scales and shifts it.

    x (..., C), weight (C,), bias (C,), each of which may be None; returns y (..., C) with
        x̂ = (x - mean x) / √(var x + eps),   y = weight · x̂ + bias     (equations 3 and 4 of the paper;
    the variance is the mean square deviation, without Bessel's correction). If ``axes`` is above 1, the elements of so
    many last axes are one vector, and weight and bias have the shape of these axes.

    Raises ValueError if weight or bias has another shape.
    """
    check_layer_norm(x, weight, bias, axes)
    vectors = x.reshape(*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :]))
    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    inverse_std = 1 / np.sqrt(variance + eps)
    x_hat = np.multiply(centred, inverse_std, out=centred)
    gain = None if weight is None else weight.reshape(-1)
    y = x_hat.copy() if gain is None else x_hat * gain
    if bias is not None:
        y += bias.reshape(-1)
    return y.reshape(x.shape), LayerNormSaved(x_hat, inverse_std, gain, bias is not None, x.shape, axes)


def layer_norm_backward(dy: Array, saved: LayerNormSaved) -> tuple[Array, Array | None, Array | None]:
    """Gradients of layer_norm for x, weight and bias; None for a weight or bias that is missing.

    Weight and bias act elementwise: d_weight = Σ dy · x̂ and d_bias = Σ dy over all but the last axis, and x̂ gets
    dx̂ = dy · weight. Now x̂ = (x - μ) / σ, and both μ and σ = √(var + eps) depend on every x_j of the vector:
        ∂x̂_i/∂x_j = (δ_ij - 1/C - x̂_i x̂_j / C) / σ,     as ∂μ/∂x_j = 1/C and ∂σ/∂x_j = x̂_j / C.
    Summed over i against dx̂_i:
        dx = (dx̂ - mean(dx̂) - x̂ · mean(dx̂ · x̂)) / σ.
    In words: dx̂ minus its part along the constant vector and its part along x̂, the two directions that normalising
    removes (x̂ completely only if eps is 0; the formula holds for any eps).
    """
    x_hat, inverse_std, weight, has_bias, shape, axes = saved
    normalised = shape[len(shape) - axes :]
    dy = dy.reshape(x_hat.shape)
    d_weight = None if weight is None else as_rows(dy * x_hat).sum(axis=0).reshape(normalised)
    d_bias = as_rows(dy).sum(axis=0).reshape(normalised) if has_bias else None
    d_x_hat = dy if weight is None else dy * weight
    along_x_hat = (d_x_hat * x_hat).mean(axis=-1, keepdims=True)
    dx = d_x_hat - d_x_hat.mean(axis=-1, keepdims=True)
    dx -= x_hat * along_x_hat
    dx *= inverse_std
    return dx.reshape(shape), d_weight, d_bias


def check_layer_norm(x: Array, weight: Array | None, bias: Array | None, axes: int) -> None:
    """Raises the errors that layer_norm lists."""
    if not 1 <= axes <= x.ndim:
        raise ValueError(f"layer_norm: axes must lie in [1, {x.ndim}], as x has shape {x.shape}, not {axes}")
    shape = x.shape[x.ndim - axes :]
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and array.shape != shape:
            raise ValueError(f"layer_norm: {name} must have shape {shape}, as x is {x.shape}, not {array.shape}")
