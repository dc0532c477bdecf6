"""The leaves: each applies one operation of ``ops`` to its inputs and its own parameters."""

import math
from collections.abc import Sequence
from operator import index
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_index

from handgrad import ops
from handgrad.autograd import default_generator
from handgrad.nn import init
from handgrad.nn.base_layer import Layer
from handgrad.nn.module import ArrayOrTensor
from handgrad.nn.parameter import Parameter
from handgrad.ops.conv2d import IntPair, pair
from handgrad.ops.precision import Precision, check_precision
from handgrad.ops.shapes import sizes_of
from handgrad.system.arrays import Array

Activation = Literal["gelu", "gelu_exact", "relu", "relu_squared"]
"""The name of a nonlinearity: gelu is GPT-2's tanh form."""
Generator = np.random.Generator

_LINEAR: dict[Activation | None, tuple[Any, dict[str, Any]]] = {
    None: (ops.linear, {}),
    "gelu": (ops.linear_gelu, {}),
    "gelu_exact": (ops.linear_gelu, {"approximate": "none"}),
    "relu": (ops.linear_relu, {}),
    "relu_squared": (ops.linear_relu_squared, {}),
}
"""The operation of a linear layer, with its options, by the nonlinearity after it."""


class Linear(Layer):
    """y = f(x W + b) over the last axis: (..., in_features) to (..., out_features).

    W (in_features, out_features) and b start uniform in ±1/√in_features, as in PyTorch. f is a nonlinearity that
    belongs to the same operation, or nothing. ``precision``: of the matrix products, see ``ops.precision``.

    Raises ValueError for an unknown nonlinearity or precision.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: Activation | None = None,
        *,
        precision: Precision = "float32",
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if activation not in _LINEAR:
            raise ValueError(f"activation must be {' or '.join(get_args(Activation))}, not {activation!r}")
        check_precision("Linear", precision)
        self.activation, self.precision = activation, precision
        self.in_features, self.out_features = in_features, out_features = index(in_features), index(out_features)
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = Parameter(np.empty((in_features, out_features), dtype), role="matrix")
        init.uniform(self.weight, -bound, bound, rng)
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        if self.bias is not None:
            init.uniform(self.bias, -bound, bound, rng)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        operation, options = _LINEAR[self.activation]
        return self.apply(operation, x, self.weight, self.bias, **options, precision=self.precision)


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
        self.num_embeddings, self.embedding_dim = index(num_embeddings), index(embedding_dim)
        self.weight = Parameter(np.empty((self.num_embeddings, self.embedding_dim), dtype), role="embedding")
        init.normal(self.weight, rng=rng)

    def forward(self, ids: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.embedding, self.weight, ids=ids)


class Unembedding(Layer):
    """Logits (..., V) of x (..., C) against the rows of ``weight`` (V, C), which may be an embedding's own.

    ``precision``: of the matrix products, see ``ops.precision``. Raises ValueError for an unknown one.
    """

    def __init__(self, weight: Parameter, bias: bool = False, *, precision: Precision = "float32") -> None:
        check_precision("Unembedding", precision)
        self.weight, self.precision = weight, precision
        self.bias = Parameter(np.zeros(weight.shape[0], weight.dtype)) if bias else None

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.unembedding, x, self.weight, self.bias, precision=self.precision)


class LayerNorm(Layer):
    """Brings each vector of the last axis to mean 0 and variance 1; then times gain (``weight``), plus ``bias``.

    With several sizes, as (H, W), the elements of so many last axes are one vector. ``elementwise_affine=False`` leaves
    gain and bias out, ``bias=False`` the bias alone.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.normalized_shape = shape = _normalised("LayerNorm", normalized_shape)
        self.weight = Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape, dtype)) if elementwise_affine and bias else None
        self.eps = eps

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        axes = _axes_to_normalise(self, x)
        return self.apply(ops.layer_norm, x, self.weight, self.bias, eps=self.eps, **axes)


class RMSNorm(Layer):
    """Brings each vector of the last axis to a root mean square of 1; then times gain (``weight``).

    With several sizes, as (H, W), the elements of so many last axes are one vector. ``elementwise_affine=False`` leaves
    the gain out. PyTorch's default for eps is that of the dtype, 1.2e-7 for float32.

    Raises ValueError if normalized_shape names no size.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.normalized_shape = shape = _normalised("RMSNorm", normalized_shape)
        self.weight = Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        self.eps = eps

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        axes = _axes_to_normalise(self, x)
        return self.apply(ops.rms_norm, x, self.weight, eps=self.eps, **axes)


class TokenShift(Layer):
    """Each token's vector plus a share of the one before it: (..., T, num_features) to the same shape.

    The share of each component, ``weight``, starts at 0, so that the layer begins as the identity. ``before``
    (..., num_features) is the vector before the first one, if the text began earlier; it gets no gradient.
    """

    def __init__(self, num_features: int, *, dtype: npt.DTypeLike = np.float32) -> None:
        self.num_features = index(num_features)
        self.weight = Parameter(np.zeros(self.num_features, dtype))

    def forward(self, x: ArrayOrTensor, before: Array | None = None) -> ArrayOrTensor:
        return self.apply(ops.token_shift, x, self.weight, before=before)


class Conv2d(Layer):
    """Windows of an image, weighted: (N, in_channels, H, W) to (N, out_channels, U, V), as in PyTorch.

    The weight (out_channels, in_channels, I, J) and the bias start uniform in ±1/√(in_channels · I · J).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | IntPair,
        stride: int | IntPair = 1,
        padding: int | IntPair = 0,
        dilation: int | IntPair = 1,
        bias: bool = True,
        *,
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.in_channels, self.out_channels = in_channels, out_channels = index(in_channels), index(out_channels)
        self.kernel_size = pair(kernel_size, "kernel_size")
        bound = 1 / math.sqrt(in_channels * math.prod(self.kernel_size))
        self.weight = Parameter(np.empty((out_channels, in_channels, *self.kernel_size), dtype), role="matrix")
        init.uniform(self.weight, -bound, bound, rng)
        self.bias = Parameter(np.empty(out_channels, dtype)) if bias else None
        if self.bias is not None:
            init.uniform(self.bias, -bound, bound, rng)
        self.stride, self.padding = pair(stride, "stride"), pair(padding, "padding")
        self.dilation = pair(dilation, "dilation")

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return self.apply(ops.conv2d, x, self.weight, self.bias, **options)


class MaxPool2d(Layer):
    """The largest number in each window of an image: (N, C, H, W) to (N, C, U, V); see ``ops.max_pool2d``."""

    def __init__(
        self, kernel_size: int | IntPair, stride: int | IntPair | None = None, padding: int | IntPair = 0
    ) -> None:
        self.kernel_size = pair(kernel_size, "kernel_size", "MaxPool2d")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", "MaxPool2d")
        self.padding = pair(padding, "padding", "MaxPool2d")

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        options = {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        return self.apply(ops.max_pool2d, x, **options)


class Flatten(Layer):
    """The axes from start_dim to end_dim as one: by default all but the first, which counts examples."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = index(start_dim), index(end_dim)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        shape = np.shape(x)
        first, last = (normalize_axis_index(dim, len(shape)) for dim in (self.start_dim, self.end_dim))
        if first > last:
            raise ValueError(f"Flatten: start_dim {self.start_dim} comes after end_dim {self.end_dim} in shape {shape}")
        joined = math.prod(shape[first : last + 1])
        return self.apply(ops.reshape, x, shape=(*shape[:first], joined, *shape[last + 1 :]))


class Identity(Layer):
    """Returns its input; whatever it is made with is passed over, as in PyTorch."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.reshape, x, shape=np.shape(x))


class Dropout(Layer):
    """In training, each element becomes zero with probability p, else is divided by 1 - p; in eval the identity."""

    def __init__(self, p: float = 0.5, *, rng: Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must lie in [0, 1], not {p}")
        self.p = p
        self.rng = rng

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        rng = default_generator() if self.rng is None else self.rng
        return self.apply(ops.dropout, x, p=self.p, training=self.training, rng=rng)


def _normalised(layer: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """The sizes of the axes that a norm makes one vector. Raises ValueError if there are none."""
    shape = sizes_of((normalized_shape,))
    if not shape:
        raise ValueError(f"{layer}: normalized_shape must name at least one size")
    return shape


def _axes_to_normalise(norm: LayerNorm | RMSNorm, x: ArrayOrTensor) -> dict[str, int]:
    """The option that says how many axes are one vector; left out if it is the default, 1.

    Raises ValueError if a norm without a weight, whose shape the operation would check, gets an x of other sizes.
    """
    shape = norm.normalized_shape
    if norm.weight is None and np.shape(x)[-len(shape) :] != shape:
        raise ValueError(f"{type(norm).__name__}: the last axes of x {np.shape(x)} are not {shape}")
    return {} if len(shape) == 1 else {"axes": len(shape)}
