"""The transformer's block (Vaswani et al. 2017), with the pre-normalisation of GPT-2 (Radford et al. 2019)."""

from collections.abc import Callable
from operator import index
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from handgrad.nn.attention import MultiHeadAttention
from handgrad.nn.base_layer import Layer
from handgrad.nn.layers import Activation, Dropout, LayerNorm, Linear
from handgrad.nn.module import ArrayOrTensor, Module, in_floats
from handgrad.system.arrays import Array

Generator = np.random.Generator

Norm = Literal["layer"]
"""The name of a normalisation."""
NORMS: dict[Norm, Callable[..., Layer]] = {"layer": LayerNorm}


def new_norm(norm: Norm, n_embd: int, *, dtype: npt.DTypeLike = np.float32) -> Layer:
    """The normalisation of that name for vectors of n_embd. Raises ValueError for an unknown name."""
    if norm not in NORMS:
        raise ValueError(f"norm must be {' or '.join(get_args(Norm))}, not {norm!r}")
    return NORMS[norm](n_embd, dtype=dtype)


class FeedForward(Module):
    """Two linear maps with a nonlinearity between: (..., n_embd) to n_hidden (4 n_embd) and back.

    y = f(x W + b) W' + b'.
    """

    def __init__(
        self,
        n_embd: int,
        n_hidden: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        n_hidden = 4 * index(n_embd) if n_hidden is None else n_hidden
        self.expand = Linear(n_embd, n_hidden, bias, activation, rng=rng, dtype=dtype)
        self.contract = Linear(n_hidden, n_embd, bias, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.dropout(self.contract(self.expand(x)))

    def backward(self, dy: Array) -> Array:
        return self.expand.backward(self.contract.backward(self.dropout.backward(dy)))


class TransformerBlock(Module):
    """Attention, then the feed-forward network, each on its normalised input, with the result added to that input."""

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        bias: bool = True,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        norm: Norm = "layer",
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.norm_1 = new_norm(norm, n_embd, dtype=dtype)
        self.attention = MultiHeadAttention(n_embd, n_head, bias, dropout, rng=rng, dtype=dtype)
        self.norm_2 = new_norm(norm, n_embd, dtype=dtype)
        self.feed_forward = FeedForward(n_embd, None, bias, dropout, activation, rng=rng, dtype=dtype)

    def forward(self, x: ArrayOrTensor, mask: ArrayOrTensor | None = None) -> ArrayOrTensor:
        x = in_floats(x)
        x = x + self.attention(self.norm_1(x), mask)
        x = x + self.feed_forward(self.norm_2(x))
        return x

    def backward(self, dy: Array) -> Array:
        # Each sum hands dy to both its terms: once straight through, once through the branch.
        dy = dy + self.norm_2.backward(self.feed_forward.backward(dy))
        dx = self.norm_1.backward(self.attention.backward(dy))
        return (dy + dx).astype(dx.dtype, copy=False)  # the dtype of x
