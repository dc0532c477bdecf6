"""The transformer's parts (Vaswani et al. 2017), with the pre-normalisation of GPT-2 (Radford et al. 2019)."""

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.arrays import Array
from handgrad.autograd import default_generator
from handgrad.nn.layers import Activation, Dropout, LayerNorm, Linear
from handgrad.nn.module import ArrayOrTensor, Layer, Module

Generator = np.random.Generator


class Attend(Layer):
    """Multi-head self-attention on a fused projection: (B, T, 3C) to (B, T, C). No parameters."""

    def __init__(self, n_head: int, causal: bool = True, dropout: float = 0.0, *, rng: Generator | None = None) -> None:
        self.n_head = n_head
        self.causal = causal
        self.dropout = dropout
        self.rng = rng

    def forward(self, qkv: ArrayOrTensor, mask: ArrayOrTensor | None = None) -> ArrayOrTensor:
        return self.apply(
            ops.multi_head_attention,
            qkv,
            n_head=self.n_head,
            mask=mask,
            causal=self.causal,
            dropout_p=self.dropout if self.training else 0.0,
            rng=default_generator() if self.rng is None else self.rng,
        )


class MultiHeadAttention(Module):
    """Causal self-attention with n_head heads: (B, T, n_embd) to (B, T, n_embd).

    ``mask`` (broadcast to (B, n_head, T, T)) is true where attending is allowed, or is added to the scores.

    Raises ValueError where n_head does not divide n_embd.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        bias: bool = True,
        dropout: float = 0.0,
        causal: bool = True,
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if n_head < 1 or n_embd % n_head:
            raise ValueError(f"MultiHeadAttention: n_embd {n_embd} must be a multiple of n_head {n_head}")
        self.project_in = Linear(n_embd, 3 * n_embd, bias, rng=rng, dtype=dtype)
        self.attend = Attend(n_head, causal, dropout, rng=rng)
        self.project_out = Linear(n_embd, n_embd, bias, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x: ArrayOrTensor, mask: ArrayOrTensor | None = None) -> ArrayOrTensor:
        return self.dropout(self.project_out(self.attend(self.project_in(x), mask)))

    def backward(self, dy: Array) -> Array:
        return self.project_in.backward(self.attend.backward(self.project_out.backward(self.dropout.backward(dy))))


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
        n_hidden = 4 * n_embd if n_hidden is None else n_hidden
        self.expand = Linear(n_embd, n_hidden, bias, activation, rng=rng, dtype=dtype)
        self.contract = Linear(n_hidden, n_embd, bias, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.dropout(self.contract(self.expand(x)))

    def backward(self, dy: Array) -> Array:
        return self.expand.backward(self.contract.backward(self.dropout.backward(dy)))


class TransformerBlock(Module):
    """Attention, then the feed-forward network, each on a normalised input and added to what came in."""

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        bias: bool = True,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.norm_1 = LayerNorm(n_embd, dtype=dtype)
        self.attention = MultiHeadAttention(n_embd, n_head, bias, dropout, rng=rng, dtype=dtype)
        self.norm_2 = LayerNorm(n_embd, dtype=dtype)
        self.feed_forward = FeedForward(n_embd, None, bias, dropout, activation, rng=rng, dtype=dtype)

    def forward(self, x: ArrayOrTensor, mask: ArrayOrTensor | None = None) -> ArrayOrTensor:
        x = x + self.attention(self.norm_1(x), mask)
        x = x + self.feed_forward(self.norm_2(x))
        return x

    def backward(self, dy: Array) -> Array:
        # Each sum hands dy to both its terms: once straight through, once through the branch.
        dy = dy + self.norm_2.backward(self.feed_forward.backward(dy))
        dy = dy + self.norm_1.backward(self.attention.backward(dy))
        return dy
