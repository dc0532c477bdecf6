"""Gaussian error linear units (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415)."""

import math
from typing import Literal, NamedTuple

import numpy as np

from handgrad.ops.erf import erf
from handgrad.system.arrays import Array

Approximate = Literal["tanh", "none"]

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


class GeluSaved(NamedTuple):
    """The input, and Φ(x), the share of it that passed."""

    x: Array
    share: Array
    approximate: Approximate


def gelu(x: Array, approximate: Approximate = "tanh") -> tuple[Array, GeluSaved]:
    """x · Φ(x), Φ the distribution function of the normal law; x of any shape.

    approximate="tanh", GPT-2's form:  Φ(x) ≈ ½ (1 + tanh u),  u = √(2/π) (x + 0.044715 x³)
    approximate="none", the exact one: Φ(x) = ½ (1 + erf(x/√2)).

    Raises ValueError for any other ``approximate``.
    """
    if approximate == "tanh":
        u = np.square(x, out=np.empty_like(x))
        u *= CUBIC
        u += 1
        u *= x
        u *= SQRT_2_OVER_PI
        share = np.tanh(u, out=u)  # becomes Φ below
    elif approximate == "none":
        share = erf(x / math.sqrt(2))
    else:
        raise ValueError(f'gelu: approximate must be "tanh" or "none", not {approximate!r}')
    share += 1
    share *= 0.5
    return x * share, GeluSaved(x, share, approximate)


def gelu_backward(dy: Array, saved: GeluSaved) -> Array:
    """Gradient of gelu for x.

    By the product rule dy/dx = Φ(x) + x Φ'(x), with
        exact: Φ'(x) = φ(x) = exp(-x²/2) / √(2π)
        tanh:  Φ = ½ (1 + tanh u) gives Φ' = ½ (1 - tanh² u) u' = 2 Φ (1 - Φ) u',
               u' = √(2/π) (1 + 3 · 0.044715 x²).
    """
    x, share, approximate = saved
    slope: Array
    if approximate == "tanh":
        slope = np.square(x, out=np.empty_like(x))
        slope *= 3 * CUBIC
        slope += 1
        slope *= 2 * SQRT_2_OVER_PI
        slope *= share
        slope *= 1 - share
    else:
        slope = np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi)
    slope *= x
    slope += share
    slope *= dy
    return slope
