"""The parts of networks: softmax, normalisation, losses, attention."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from handgrad import ops
from handgrad.autograd.operands import as_tensor, floating, promoted_tensors
from handgrad.autograd.random import default_generator
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.backend import Forward
from handgrad.ops.conv2d import IntPair
from handgrad.ops.cross_entropy import Reduction
from handgrad.ops.shapes import axes_of, sizes_of


def softmax(x: TensorLike, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """exp(x_i) / Σ exp(x_j) along an axis, which may be called dim."""
    return _along(ops.softmax, x, axis if dim is None else dim)


def log_softmax(x: TensorLike, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """The logarithm of softmax along an axis, which may be called dim."""
    return _along(ops.log_softmax, x, axis if dim is None else dim)


def embedding(ids: TensorLike, weight: TensorLike) -> Tensor:
    """Row ids[...] of weight (V, C) for each id: (...) to (..., C)."""
    return apply(ops.embedding, floating(weight), ids=as_tensor(ids))


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x @ weight + bias, weight (in, out) as everywhere here (PyTorch's is the transpose)."""
    given = promoted_tensors(x, weight, *([] if bias is None else [bias]))
    return apply(ops.linear, *given, *([None] if bias is None else []))


def layer_norm(
    x: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Brings the last axes, ``normalized_shape``, to mean 0 and variance 1; then times weight, plus bias."""
    x = floating(x)
    shape = sizes_of((normalized_shape,))
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: the last axes of x, of shape {x.shape}, are not normalized_shape {shape}")
    scale = as_tensor(np.ones(shape, x.dtype)) if weight is None else as_tensor(weight)
    shift = as_tensor(np.zeros(shape, x.dtype)) if bias is None else as_tensor(bias)
    rows = x.reshape(*x.shape[: -len(shape)], math.prod(shape))
    given = promoted_tensors(rows, scale.reshape(-1), shift.reshape(-1))
    return apply(ops.layer_norm, *given, eps=eps).reshape(x.shape)


def dropout(x: TensorLike, p: float = 0.5, training: bool = True, *, rng: np.random.Generator | None = None) -> Tensor:
    """In training, each element becomes zero with probability p, else is divided by 1 - p; out of training, x."""
    return apply(ops.dropout, floating(x), p=p, training=training, rng=rng or default_generator())


def cross_entropy(
    logits: TensorLike, targets: TensorLike, ignore_index: int = -100, reduction: Reduction = "mean"
) -> Tensor:
    """-log softmax(logits)[target] in nats; logits (..., V), targets (...): the classes are the last axis."""
    return apply(
        ops.cross_entropy, floating(logits), targets=as_tensor(targets), ignore_index=ignore_index, reduction=reduction
    )


def mse(prediction: TensorLike, target: TensorLike, reduction: Literal["mean", "sum", "none"] = "mean") -> Tensor:
    """(prediction - target)², averaged; both have the same shape."""
    return apply(ops.mse, *promoted_tensors(floating(prediction), target), reduction=reduction)


def attention(
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    mask: TensorLike | None = None,
    causal: bool = True,
    dropout_p: float = 0.0,
    *,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """softmax(q kᵀ / √D + mask) v; q (..., T, D), k (..., S, D), v (..., S, E).

    Causal by default. A boolean mask is true where attending is allowed; a floating mask is added to the scores.
    """
    return apply(
        ops.attention,
        *promoted_tensors(floating(q), k, v),
        mask=None if mask is None else as_tensor(mask),
        causal=causal,
        dropout_p=dropout_p,
        rng=rng or default_generator(),
    )


def conv2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | IntPair = 1,
    padding: int | IntPair = 0,
    dilation: int | IntPair = 1,
) -> Tensor:
    """x (N, C, H, W) with weight (O, C, I, J) and bias (O,): (N, O, U, V)."""
    given = promoted_tensors(floating(x), weight, *([] if bias is None else [bias]))
    absent = [None] if bias is None else []
    return apply(ops.conv2d, *given, *absent, stride=stride, padding=padding, dilation=dilation)


def _along(operation: Forward, x: TensorLike, axis: int) -> Tensor:
    """A softmax along an axis; a single number counts as a vector of one, as in PyTorch."""
    tensor = floating(x)
    if tensor.ndim == 0:
        return _along(operation, tensor.reshape(1), axis).reshape(())
    (axis,) = axes_of(tensor.data, axis)
    return apply(operation, tensor, axis=axis)
