"""Inverted dropout (Srivastava et al. 2014): drops elements in training, does nothing afterwards."""

from typing import NamedTuple

import numpy as np

from handgrad.system.arrays import Array


class DropoutSaved(NamedTuple):
    """Which elements were kept (None if all were), and the factor that they were multiplied by."""

    kept: Array | None
    scale: float


def dropout(
    x: Array, p: float = 0.5, training: bool = True, rng: np.random.Generator | None = None
) -> tuple[Array, DropoutSaved]:
    """Each element becomes zero with probability p and is otherwise divided by 1 - p, so that its mean does not change.

    x of any shape; the identity if ``training`` is false or p is 0. ``rng`` draws the mask; the identity needs none.

    Raises ValueError for p outside [0, 1], and for a missing ``rng`` when a mask must be drawn.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must lie in [0, 1], not {p}")
    if not training or p == 0:
        return x, DropoutSaved(None, 1.0)
    if rng is None:
        raise ValueError("dropout: a generator is needed to draw the mask; pass rng=np.random.default_rng(seed)")
    kept = np.asarray(rng.random(x.shape, dtype=np.float32) >= p, like=x)
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * kept * scale, DropoutSaved(kept, scale)


def dropout_backward(dy: Array, saved: DropoutSaved) -> Array:
    """Gradient of dropout for x: y = x · kept / (1 - p) elementwise, so dx = dy · kept / (1 - p)."""
    kept, scale = saved
    return dy if kept is None else dy * kept * scale
