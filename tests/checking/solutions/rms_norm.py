"""The gradients of root mean square normalisation."""

from typing import Any

from handgrad.arrays import Array
from handgrad.checking.exercises.rms_norm import rms_norm as rms_norm


def rms_norm_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array]:
    """Gradients of rms_norm for x and gain.

    With ρ = √(mean x² + eps) and x̂ = x / ρ, y = x̂ · gain acts elementwise: dx̂ = dy · gain, and d_gain is dy · x̂
    summed over all rows, as each of them used the gain. Every x_j moves ρ, by ∂ρ/∂x_j = x_j / (C ρ) = x̂_j / C, so
        ∂x̂_i/∂x_j = (δ_ij - x̂_i x̂_j / C) / ρ,
        dx = (dx̂ - x̂ · mean(dx̂ · x̂)) / ρ.
    """
    x, gain, inverse_rms = saved
    x_hat = x * inverse_rms
    d_x_hat = dy * gain
    dx = (d_x_hat - x_hat * (d_x_hat * x_hat).mean(axis=-1, keepdims=True)) * inverse_rms
    return dx, (dy * x_hat).reshape(-1, len(gain)).sum(axis=0)
