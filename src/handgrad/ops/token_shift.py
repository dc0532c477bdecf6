"""Each token with a share of the one before it (Peng et al. 2023, "RWKV", https://arxiv.org/abs/2305.13048)."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_array, as_rows
from handgrad.system.arrays import Array


class TokenShiftSaved(NamedTuple):
    """For each token of x the vector before it, (..., T, C), and weight (C,)."""

    previous: Array
    weight: Array


def token_shift(x: Array, weight: Array, before: Array | None = None) -> tuple[Array, TokenShiftSaved]:
    """Adds to each vector the one before it, times a weight for each component.

    x (..., T, C), weight (C,); returns y (..., T, C) with
        y_t = x_t + weight · x_{t-1}.
    ``before`` (..., C) is x_{-1}, if the text began earlier; it gets no gradient. At the beginning of a text, without
    ``before``, x_{-1} is 0. RWKV mixes the two by weights that add to 1; here the token itself keeps the weight 1, so
    that a weight of 0 leaves x as it is.

    Raises ValueError if x has fewer than two axes, or if weight or before has another shape.
    """
    before = None if before is None else as_array(before).astype(x.dtype, copy=False)
    check_token_shift(x, weight, before)
    first = np.zeros_like(x, shape=(*x.shape[:-2], 1, x.shape[-1])) if before is None else before[..., None, :]
    previous = np.concatenate([first, x], axis=-2)[..., :-1, :]
    return x + weight * previous, TokenShiftSaved(previous, weight)


def token_shift_backward(dy: Array, saved: TokenShiftSaved) -> tuple[Array, Array]:
    """Gradients of token_shift for x and weight.

    x_t is used twice: in y_t with the factor 1, and in y_{t+1} with the factor weight. So its gradient has two terms,
        dx_t = dy_t + weight · dy_{t+1},
    but for the last vector of a text, which no further one uses: dx_{T-1} = dy_{T-1}. The forward looks back, so the
    backward looks ahead. The weight takes part in every y_t, with the slope x_{t-1}; added up over all tokens,
        d_weight = Σ_t dy_t · x_{t-1}.
    """
    previous, weight = saved
    d_previous = weight * dy
    last = np.zeros_like(dy, shape=(*dy.shape[:-2], 1, dy.shape[-1]))
    dx = dy + np.concatenate([d_previous, last], axis=-2)[..., 1:, :]
    return dx, as_rows(dy * previous).sum(axis=0)


def check_token_shift(x: Array, weight: Array, before: Array | None) -> None:
    """Raises the errors that token_shift lists."""
    if x.ndim < 2:
        raise ValueError(f"token_shift: x must have shape (..., T, C), not {x.shape}")
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"token_shift: weight must have shape {x.shape[-1:]}, as x is {x.shape}, not {weight.shape}")
    shape = (*x.shape[:-2], x.shape[-1])
    if before is not None and before.shape != shape:
        raise ValueError(f"token_shift: before must have shape {shape}, as x is {x.shape}, not {before.shape}")
