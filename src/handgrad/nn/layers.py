"""The leaves: each holds an operation of ``ops`` and its own parameters."""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.arrays import Array
from handgrad.autograd import default_generator
from handgrad.nn import init
from handgrad.nn.module import Layer
from handgrad.nn.parameter import Parameter
from handgrad.ops.cross_entropy import Reduction

Generator = np.random.Generator


class Linear(Layer):
    """y = x W + b over the last axis: (..., in_features) to (..., out_features).

    W (in_features, out_features) and b start evenly in ±1/√in_features, as PyTorch's do.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = Parameter(np.empty((in_features, out_features), dtype))
        init.uniform(self.weight, -bound, bound, rng)
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        if self.bias is not None:
            init.uniform(self.bias, -bound, bound, rng)

    def forward(self, x: Array) -> Array:
        return self.apply(ops.linear, x, self.weight, self.bias)


class Embedding(Layer):
    """A row of the table W (num_embeddings, embedding_dim) for each id; W starts normal, N(0, 1)."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), dtype))
        init.normal(self.weight, rng=rng)

    def forward(self, ids: Array) -> Array:
        return self.apply(ops.embedding, self.weight, ids=ids)


class Unembedding(Layer):
    """Logits (..., V) of x (..., C) against the rows of ``weight`` (V, C), which may be an embedding's own."""

    def __init__(self, weight: Parameter, bias: bool = False) -> None:
        self.weight = weight
        self.bias = Parameter(np.zeros(weight.shape[0], weight.dtype)) if bias else None

    def forward(self, x: Array) -> Array:
        return self.apply(ops.unembedding, x, self.weight, self.bias)


class LayerNorm(Layer):
    """Each vector of the last axis to mean 0, variance 1, then times gain (``weight``) plus ``bias``."""

    def __init__(self, normalized_shape: int, eps: float = 1e-5, *, dtype: npt.DTypeLike = np.float32) -> None:
        self.weight = Parameter(np.ones(normalized_shape, dtype))
        self.bias = Parameter(np.zeros(normalized_shape, dtype))
        self.eps = eps

    def forward(self, x: Array) -> Array:
        return self.apply(ops.layer_norm, x, self.weight, self.bias, eps=self.eps)


class GELU(Layer):
    """x Φ(x); GPT-2's tanh form by default, ``approximate="none"`` the exact one."""

    def __init__(self, approximate: Literal["tanh", "none"] = "tanh") -> None:
        self.approximate = approximate

    def forward(self, x: Array) -> Array:
        return self.apply(ops.gelu, x, approximate=self.approximate)


class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, x: Array) -> Array:
        return self.apply(ops.relu, x)


class Softmax(Layer):
    """exp(x_i) / Σ exp(x_j) along ``axis``."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        return self.apply(ops.softmax, x, axis=self.axis)


class Dropout(Layer):
    """In training each element is zero with probability p, else divided by 1 - p; in eval the identity."""

    def __init__(self, p: float = 0.5, *, rng: Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must lie in [0, 1], not {p}")
        self.p = p
        self.rng = rng

    def forward(self, x: Array) -> Array:
        rng = default_generator() if self.rng is None else self.rng
        return self.apply(ops.dropout, x, p=self.p, training=self.training, rng=rng)


class CrossEntropyLoss(Layer):
    """-log softmax(logits)[target] in nats, from logits (..., V) and integer targets (...).

    ``backward()`` starts the way back: it takes ∂L/∂loss, 1 where nothing is said.
    """

    def __init__(self, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, logits: Array, targets: Array) -> Array:
        options = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return self.apply(ops.cross_entropy, logits, targets=targets, **options)

    def backward(self, dy: Any = 1.0) -> Array:
        return super().backward(dy)
