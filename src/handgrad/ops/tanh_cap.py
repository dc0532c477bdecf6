"""A soft limit for scores and logits (Gemma 2, https://arxiv.org/abs/2408.00118, section 2)."""

import math
from typing import NamedTuple

import numpy as np

from handgrad.system.arrays import Array


class TanhCapSaved(NamedTuple):
    """The output, and the cap."""

    y: Array
    cap: float


def tanh_cap(x: Array, cap: float) -> tuple[Array, TanhCapSaved]:
    """cap · tanh(x / cap), for x of any shape: nearly x where |x| is far below cap, and never beyond ±cap.

    Raises ValueError unless cap is a finite number above 0.
    """
    cap = check_cap(cap)
    y = np.tanh(x / cap)
    y = y * cap
    return y, TanhCapSaved(y, cap)


def tanh_cap_backward(dy: Array, saved: TanhCapSaved) -> Array:
    """Gradient of tanh_cap for x.

    With u = x / cap and tanh' = 1 - tanh², the factors cap and 1 / cap cancel:
        dy/dx = cap · (1 - tanh² u) / cap = 1 - tanh² u = 1 - (y / cap)².
    The output exists anyway, so x need not be kept.
    """
    y, cap = saved
    slope = np.square(y / cap)
    return dy * (1 - slope)


def check_cap(cap: float) -> float:
    """The cap as a Python float, which leaves float32 as it is. Raises the error that tanh_cap lists."""
    if not 0 < cap < math.inf:
        raise ValueError(f"tanh_cap: cap must be a finite number above 0, not {cap}")
    return float(cap)
