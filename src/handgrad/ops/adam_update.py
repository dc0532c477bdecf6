"""One step of Adam (Kingma & Ba 2015, algorithm 1) and AdamW (Loshchilov & Hutter 2019, algorithm 2), in place."""

import math

import numpy as np

from handgrad.system.arrays import Array

# Elements updated at a time: data, gradient, two moments and scratch of a block stay in a core's cache.
_BLOCK = 16384


def adam_update(
    data: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    grad_scale: float = 1.0,
    cautious: bool = False,
) -> None:
    """Moves ``data`` one step against its gradient; all four arrays are one-dimensional and of equal size.

        m ← β₁ m + (1 - β₁) g,    v ← β₂ v + (1 - β₂) g²
        x ← x - lr · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + eps)

    t is ``step``, counted from 1. Weight decay shrinks x by lr · weight_decay before the step if ``decoupled``
    (AdamW), else adds weight_decay · x to the gradient (Adam). g is ``grad`` times ``grad_scale``; ``grad`` does not
    change.

    ``cautious``, for AdamW: only coordinates that the step moves toward zero shrink, those with m · x ≥ 0 (Chen et al.
    2025, "Cautious weight decay", algorithm 1).
    """
    step_size = lr / (1 - beta1**step)
    sqrt_correction = math.sqrt(1 - beta2**step)
    scratch = np.empty(min(_BLOCK, data.size), dtype=data.dtype, like=data)
    for start in range(0, data.size, _BLOCK):
        block = slice(start, min(start + _BLOCK, data.size))
        x, g, m, v = data[block], grad[block], exp_avg[block], exp_avg_sq[block]
        s = scratch[: x.size]
        if grad_scale != 1:
            g = g * grad_scale
        if weight_decay and decoupled and not cautious:
            x *= 1 - lr * weight_decay
        elif weight_decay and not decoupled:
            g = g + weight_decay * x
        m *= beta1
        m += np.multiply(g, 1 - beta1, out=s)
        if weight_decay and decoupled and cautious:
            np.multiply(m, x, out=s)
            x -= np.multiply(x * (s >= 0), lr * weight_decay, out=s)
        v *= beta2
        np.square(g, out=s)
        v += np.multiply(s, 1 - beta2, out=s)
        np.sqrt(v, out=s)
        s /= sqrt_correction
        s += eps
        np.divide(m, s, out=s)
        s *= step_size
        x -= s
