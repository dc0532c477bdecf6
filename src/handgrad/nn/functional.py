"""The functions of networks, under the name that PyTorch's users import as ``F``.

They are the functions of ``handgrad`` of the same names, and behave as these: classes are on the last axis,
``linear`` takes weights (in, out), ``gelu`` is GPT-2's tanh form.
"""

import numpy as np

from handgrad.autograd import functions
from handgrad.autograd.functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    conv2d,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    max_pool2d,
    one_hot,
    relu,
    relu_squared,
    rms_norm,
    rotary,
    sigmoid,
    silu,
    softmax,
    softplus,
    swiglu,
    tanh,
    tanh_cap,
    token_shift,
)
from handgrad.autograd.tensor import Tensor, TensorLike

mse_loss = functions.mse


def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q kᵀ / √D + mask) v; not causal by default, as in PyTorch, while ``handgrad.attention`` is.

    With ``enable_gqa`` there may be fewer heads of keys and values, which the query heads share.
    """
    if enable_gqa:
        n_head = np.shape(query)[-3]
        key, value = (functions.share_heads(x, n_head // np.shape(x)[-3]) for x in (key, value))
    return functions.attention(query, key, value, attn_mask, is_causal, dropout_p, scale=scale)


__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "one_hot",
    "relu",
    "relu_squared",
    "rms_norm",
    "rotary",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "swiglu",
    "tanh",
    "tanh_cap",
    "token_shift",
]
