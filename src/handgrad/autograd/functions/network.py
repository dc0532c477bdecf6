"""The parts of networks: softmax, normalisation, losses, attention."""

from collections.abc import Sequence
from operator import index
from typing import Any, Literal

import numpy as np

from handgrad import ops
from handgrad.autograd.functions.elementwise import astype
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
    return _with_optional(ops.linear, x, weight, bias)


def layer_norm(
    x: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Brings the last axes, ``normalized_shape``, to mean 0 and variance 1; then times weight, plus bias."""
    x, shape = floating(x), sizes_of((normalized_shape,))
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: the last axes of x, of shape {x.shape}, are not normalized_shape {shape}")
    return _with_optional(ops.layer_norm, x, weight, bias, eps=eps, axes=len(shape))


def rms_norm(
    x: TensorLike, normalized_shape: int | Sequence[int], weight: TensorLike | None = None, eps: float = 1e-5
) -> Tensor:
    """Brings the last axes, ``normalized_shape``, to a root mean square of 1; then times weight.

    PyTorch's default for eps is that of the dtype, 1.2e-7 for float32; with the same eps both give the same.
    """
    x, shape = floating(x), sizes_of((normalized_shape,))
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"rms_norm: the last axes of x, of shape {x.shape}, are not normalized_shape {shape}")
    given = promoted_tensors(x) if weight is None else promoted_tensors(x, weight)
    return apply(ops.rms_norm, *given, eps=eps, axes=len(shape))


def swiglu(x: TensorLike) -> Tensor:
    """silu(gate) · up for x (..., 2H) = [gate, up] side by side: (..., H)."""
    return apply(ops.swiglu, floating(x))


def dropout(x: TensorLike, p: float = 0.5, training: bool = True, *, rng: np.random.Generator | None = None) -> Tensor:
    """In training, each element becomes zero with probability p, else is divided by 1 - p; out of training, x."""
    return apply(ops.dropout, floating(x), p=p, training=training, rng=rng or default_generator())


def cross_entropy(
    logits: TensorLike,
    targets: TensorLike,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    *,
    weight: TensorLike | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(logits)[target] in nats; logits (..., V), targets (...): the classes are the last axis.

    ``weight`` (V,) multiplies the loss of each class; ``label_smoothing`` is the share of a target that spreads evenly
    over all classes. Both as in PyTorch.
    """
    options = {"targets": as_tensor(targets), "ignore_index": index(ignore_index), "reduction": reduction}
    if weight is None and label_smoothing == 0:
        return apply(ops.cross_entropy, floating(logits), **options)
    options |= {"weight": None if weight is None else as_tensor(weight), "label_smoothing": label_smoothing}
    return apply(ops.weighted_cross_entropy, floating(logits), **options)


def binary_cross_entropy(probabilities: TensorLike, target: TensorLike, reduction: Reduction = "mean") -> Tensor:
    """-t log p - (1 - t) log(1 - p), averaged; both have the same shape. Logarithms below -100 count as -100."""
    return apply(
        ops.binary_cross_entropy, *promoted_tensors(floating(probabilities), floating(target)), reduction=reduction
    )


def binary_cross_entropy_with_logits(logits: TensorLike, target: TensorLike, reduction: Reduction = "mean") -> Tensor:
    """The same from logits, whose sigmoid is the probability."""
    return apply(
        ops.binary_cross_entropy_with_logits, *promoted_tensors(floating(logits), floating(target)), reduction=reduction
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
    window: int = 0,
    scale: float | None = None,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """softmax(q kᵀ / √D + mask) v; q (..., T, D), k (..., S, D), v (..., S, E).

    Causal by default, and then with ``window`` each query sees only the last so many keys. ``scale`` takes the place of
    1 / √D. A boolean mask is true where attending is allowed; a floating mask is added to the scores, and gets a
    gradient.
    """
    given = promoted_tensors(floating(q), k, v)
    constant = None if mask is None else as_tensor(mask)
    if constant is not None and constant.requires_grad:
        given, constant = [*given, astype(constant, given[0].dtype)], None
    return apply(
        ops.attention,
        *given,
        **({} if len(given) == 4 else {"mask": constant}),
        causal=causal,
        dropout_p=dropout_p,
        rng=rng or default_generator(),
        window=window,
        scale=scale,
    )


def rotary(x: TensorLike, offset: int = 0, base: float = 10000.0) -> Tensor:
    """Each vector of x (..., T, D), turned by angles that grow with its position offset + t."""
    return apply(ops.rotary, floating(x), offset=offset, base=base)


def token_shift(x: TensorLike, weight: TensorLike, before: TensorLike | None = None) -> Tensor:
    """y_t = x_t + weight · x_{t-1} for x (..., T, C) and weight (C,).

    x_{-1} is ``before`` (..., C), which gets no gradient, or 0.
    """
    constant = None if before is None else as_tensor(before)
    return apply(ops.token_shift, *promoted_tensors(floating(x), weight), before=constant)


def share_heads(x: TensorLike, n_query: int) -> Tensor:
    """Each head of keys or values (..., K, T, D) n_query times in a row, for so many query heads."""
    return apply(ops.share_heads, floating(x), n_query=n_query)


def conv2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | IntPair = 1,
    padding: int | IntPair = 0,
    dilation: int | IntPair = 1,
) -> Tensor:
    """x (N, C, H, W) with weight (O, C, I, J) and bias (O,): (N, O, U, V)."""
    return _with_optional(ops.conv2d, floating(x), weight, bias, stride=stride, padding=padding, dilation=dilation)


def max_pool2d(
    x: TensorLike, kernel_size: int | IntPair, stride: int | IntPair | None = None, padding: int | IntPair = 0
) -> Tensor:
    """The largest number in each window of x (N, C, H, W): (N, C, U, V). The stride is the window's size by default."""
    return apply(ops.max_pool2d, floating(x), kernel_size=kernel_size, stride=stride, padding=padding)


def _along(operation: Forward, x: TensorLike, axis: int) -> Tensor:
    """A softmax along an axis; a single number counts as a vector of one, as in PyTorch."""
    tensor = floating(x)
    if tensor.ndim == 0:
        return _along(operation, tensor.reshape(1), axis).reshape(())
    (axis,) = axes_of(tensor.data, axis)
    return apply(operation, tensor, axis=axis)


def _with_optional(
    operation: Forward, x: TensorLike, weight: TensorLike | None, bias: TensorLike | None, **options: Any
) -> Tensor:
    """Applies an operation whose weight or bias may be missing."""
    given = iter(promoted_tensors(*(value for value in (x, weight, bias) if value is not None)))
    return apply(operation, *(None if value is None else next(given) for value in (x, weight, bias)), **options)
