"""The gated unit SwiGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.silu import SiluSaved, silu, silu_backward
from handgrad.system.arrays import Array


class SwigluSaved(NamedTuple):
    """silu(gate) and up, each the other's slope, and what silu saved."""

    passed: Array
    up: Array
    silu: SiluSaved


def swiglu(x: Array) -> tuple[Array, SwigluSaved]:
    """silu(gate) · up, where x (..., 2H) is [gate, up] side by side; returns (..., H).

    It is the paper's SwiGLU without its matrices: one product with [W, V] gives gate and up together.

    Raises ValueError if x has no axes, or if its last size is odd.
    """
    check_swiglu(x)
    H = x.shape[-1] // 2
    gate, up = x[..., :H], x[..., H:]
    passed, silu_saved = silu(gate)
    return passed * up, SwigluSaved(passed, up, silu_saved)


def swiglu_backward(dy: Array, saved: SwigluSaved) -> Array:
    """Gradient of swiglu for x.

    y = s · up with s = silu(gate), element by element. In a product each factor is the other's slope:
        ds = dy · up,   d_up = dy · s,
    and ds goes on through silu. Gate and up are the two halves of x, so dx is their gradients side by side.
    """
    passed, up, silu_saved = saved
    return np.concatenate([silu_backward(dy * up, silu_saved), dy * passed], axis=-1)


def check_swiglu(x: Array) -> None:
    """Raises the errors that swiglu lists."""
    if x.ndim == 0 or x.shape[-1] % 2:
        raise ValueError(f"swiglu: the last size of x must be even, [gate, up] side by side, but x has shape {x.shape}")
