"""The transformer's block (Vaswani et al. 2017), with the pre-normalisation of GPT-2 (Radford et al. 2019).

Norms and nonlinearities have names; a table of each says what a name stands for.
"""

from collections.abc import Callable
from operator import index
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from handgrad.nn.activations import SiLU, SwiGLU
from handgrad.nn.attention import MultiHeadAttention
from handgrad.nn.base_layer import Layer
from handgrad.nn.layers import Activation, Dropout, LayerNorm, Linear, RMSNorm
from handgrad.nn.module import ArrayOrTensor, Module, in_floats
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.ops.precision import Precision
from handgrad.system.arrays import Array

Generator = np.random.Generator

Norm = Literal["layer", "rms"]
"""The name of a normalisation."""
NORMS: dict[Norm, Callable[..., Layer]] = {"layer": LayerNorm, "rms": RMSNorm}

FeedForwardActivation = Literal["gelu", "gelu_exact", "relu", "relu_squared", "silu", "swiglu"]
"""The name of a feed-forward network's nonlinearity: gelu is GPT-2's tanh form."""
SEPARATE: dict[FeedForwardActivation, Callable[[], Layer]] = {"silu": SiLU, "swiglu": SwiGLU}
"""Nonlinearities that are a layer of their own; the others are part of the linear layer before them."""


def new_norm(norm: Norm, n_embd: int, eps: float = 1e-5, *, dtype: npt.DTypeLike = np.float32) -> Layer:
    """The normalisation of that name for vectors of n_embd. Raises ValueError for an unknown name."""
    if norm not in NORMS:
        raise ValueError(f"norm must be {' or '.join(get_args(Norm))}, not {norm!r}")
    return NORMS[norm](n_embd, eps, dtype=dtype)


def hidden_size(n_embd: int, activation: FeedForwardActivation) -> int:
    """The usual width of a feed-forward network: 4 n_embd. With swiglu, which has a third matrix, two thirds of that,
    rounded up to a multiple of 8, so that there are about as many parameters (Shazeer 2020).
    """
    return -(-n_embd // 3) * 8 if activation == "swiglu" else 4 * n_embd


def expanded_size(n_hidden: int, activation: FeedForwardActivation) -> int:
    """How many numbers the first linear map makes for n_hidden after the nonlinearity: swiglu takes gates as well."""
    return 2 * n_hidden if activation == "swiglu" else n_hidden


class FeedForward(Module):
    """Two linear maps with a nonlinearity between: (..., n_embd) to n_hidden and back; n_hidden: see ``hidden_size``.

    y = f(x W + b) W' + b'. ``precision``: of the matrix products, see ``ops.precision``.
    """

    def __init__(
        self,
        n_embd: int,
        n_hidden: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        activation: FeedForwardActivation = "gelu",
        *,
        precision: Precision = "float32",
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if activation not in get_args(FeedForwardActivation):
            raise ValueError(f"activation must be {' or '.join(get_args(FeedForwardActivation))}, not {activation!r}")
        made: dict[str, Any] = {"precision": precision, "rng": rng, "dtype": dtype}
        n_hidden = hidden_size(index(n_embd), activation) if n_hidden is None else n_hidden
        separate = SEPARATE.get(activation)
        fused = None if separate else cast("Activation", activation)
        self.expand = Linear(n_embd, expanded_size(n_hidden, activation), bias, fused, **made)
        if activation == "swiglu":
            self.expand.weight.widths = (n_hidden, n_hidden)
        self.activation = separate() if separate else None
        self.contract = Linear(n_hidden, n_embd, bias, **made)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        x = self.expand(x)
        if self.activation is not None:
            x = self.activation(x)
        return self.dropout(self.contract(x))

    def backward(self, dy: Array) -> Array:
        dx = self.contract.backward(self.dropout.backward(dy))
        if self.activation is not None:
            dx = self.activation.backward(dx)
        return self.expand.backward(dx)


class TransformerBlock(Module):
    """Attention, then the feed-forward network, each on its normalised input, with the result added to that input.

    ``attention``: further options of MultiHeadAttention by their names there, such as n_kv_head or rope_base.
    ``precision``: of all matrix products, see ``ops.precision``.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        bias: bool = True,
        dropout: float = 0.0,
        activation: FeedForwardActivation = "gelu",
        norm: Norm = "layer",
        *,
        n_hidden: int | None = None,
        norm_eps: float = 1e-5,
        precision: Precision = "float32",
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
        **attention: Any,
    ) -> None:
        made: dict[str, Any] = {"precision": precision, "rng": rng, "dtype": dtype}
        self.norm_1 = new_norm(norm, n_embd, norm_eps, dtype=dtype)
        self.attention = MultiHeadAttention(n_embd, n_head, bias, dropout, **attention, **made)
        self.norm_2 = new_norm(norm, n_embd, norm_eps, dtype=dtype)
        self.feed_forward = FeedForward(n_embd, n_hidden, bias, dropout, activation, **made)

    def forward(
        self, x: ArrayOrTensor, mask: ArrayOrTensor | None = None, kv_cache: KeysAndValues | None = None
    ) -> ArrayOrTensor:
        x = in_floats(x)
        x = x + self.attention(self.norm_1(x), mask, kv_cache)
        x = x + self.feed_forward(self.norm_2(x))
        return x

    def backward(self, dy: Array) -> Array:
        # Each sum hands dy to both its terms: once straight through, once through the branch.
        dy = dy + self.norm_2.backward(self.feed_forward.backward(dy))
        dx = self.norm_1.backward(self.attention.backward(dy))
        return (dy + dx).astype(dx.dtype, copy=False)  # the dtype of x
