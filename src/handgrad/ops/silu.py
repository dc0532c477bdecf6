"""Sigmoid linear units (Elfwing, Uchibe & Doya 2017, https://arxiv.org/abs/1702.03118), also called swish."""

from typing import NamedTuple

import numpy as np

from handgrad.system.arrays import Array


class SiluSaved(NamedTuple):
    """The input, and σ(x), the share of it that passed."""

    x: Array
    share: Array


def silu(x: Array) -> tuple[Array, SiluSaved]:
    """x · σ(x) with σ(x) = 1 / (1 + e⁻ˣ), for x of any shape; NaN at -∞, as in PyTorch."""
    share = np.exp(np.minimum(x, 0))  # σ(x) = e^min(x, 0) / (1 + e^-|x|), in which nothing overflows
    share /= 1 + np.exp(-np.absolute(x))
    return x * share, SiluSaved(x, share)


def silu_backward(dy: Array, saved: SiluSaved) -> Array:
    """Gradient of silu for x.

    By the product rule, with σ' = σ (1 - σ),
        dy/dx = σ + x σ (1 - σ) = σ (1 + x (1 - σ)).
    """
    x, share = saved
    slope = 1 - share
    slope *= x
    slope += 1
    slope *= share
    slope *= dy
    return slope
