"""Operations of ``ops`` compiled with Numba: same names, same signatures, for float32. ``ops`` is their definition.

The NumPy code in ``ops`` runs an operation without a kernel, and a call that its kernel does not take: ``backend.py``
asks before the forward. A kernel never calls the operation in ``ops``. Its backward only gets what its own forward
saved.
"""

from collections.abc import Callable
from typing import Any

from handgrad.kernels import (
    adam_update,
    add_gradients,
    attention,
    cached_attention,
    cross_entropy,
    embedding,
    gelu,
    layer_norm,
    linear,
    linear_gelu,
    linear_relu,
    linear_relu_squared,
    multi_head_attention,
    newton_schulz,
    next_token,
    relu_squared,
    rms_norm,
    rotary,
    silu,
    softmax,
    swiglu,
    tanh_cap,
    token_shift,
    unembedding,
)
from handgrad.kernels.kernel import Kernel, everything

KERNELS = {
    "linear": Kernel(linear.linear, linear.linear_backward, linear.takes, adds_into=True),
    "linear_gelu": Kernel(linear_gelu.linear_gelu, linear_gelu.linear_gelu_backward, linear_gelu.takes, adds_into=True),
    "linear_relu": Kernel(linear_relu.linear_relu, linear_relu.linear_relu_backward, linear.takes, adds_into=True),
    "linear_relu_squared": Kernel(
        linear_relu_squared.linear_relu_squared,
        linear_relu_squared.linear_relu_squared_backward,
        linear.takes,
        adds_into=True,
    ),
    "unembedding": Kernel(unembedding.unembedding, unembedding.unembedding_backward, everything, adds_into=True),
    "embedding": Kernel(embedding.embedding, embedding.embedding_backward, everything, adds_into=True),
    "layer_norm": Kernel(layer_norm.layer_norm, layer_norm.layer_norm_backward, layer_norm.takes, adds_into=True),
    "rms_norm": Kernel(rms_norm.rms_norm, rms_norm.rms_norm_backward, rms_norm.takes, adds_into=True),
    "gelu": Kernel(gelu.gelu, gelu.gelu_backward, gelu.takes),
    "relu_squared": Kernel(relu_squared.relu_squared, relu_squared.relu_squared_backward, everything),
    "silu": Kernel(silu.silu, silu.silu_backward, everything),
    "swiglu": Kernel(swiglu.swiglu, swiglu.swiglu_backward, everything),
    "tanh_cap": Kernel(tanh_cap.tanh_cap, tanh_cap.tanh_cap_backward, tanh_cap.takes),
    "token_shift": Kernel(token_shift.token_shift, token_shift.token_shift_backward, token_shift.takes, adds_into=True),
    "softmax": Kernel(softmax.softmax, softmax.softmax_backward, softmax.takes),
    "attention": Kernel(attention.attention, attention.attention_backward, attention.takes),
    "multi_head_attention": Kernel(
        multi_head_attention.multi_head_attention,
        multi_head_attention.multi_head_attention_backward,
        multi_head_attention.takes,
    ),
    "rotary": Kernel(rotary.rotary, rotary.rotary_backward, everything),
    "cross_entropy": Kernel(cross_entropy.cross_entropy, cross_entropy.cross_entropy_backward, everything),
}
"""Every compiled pair, by the name that the operation has in ``ops``."""

UPDATES: dict[str, Callable[..., Any]] = {
    "adam_update": adam_update.adam_update,
    "add_gradients": add_gradients.add_gradients,
    "cached_attention": cached_attention.cached_attention,
    "newton_schulz": newton_schulz.newton_schulz,
}
"""Kernels without a backward. The first three change arrays in place."""

WHOLE_MODELS = {"GPT": next_token}
"""Modules with the kernel of a whole model for one token, by the model's name in ``models``."""

__all__ = ["KERNELS", "UPDATES", "WHOLE_MODELS", "Kernel"]
