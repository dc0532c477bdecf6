"""The derivatives: each operation is a pair of pure functions, the backward under its forward.

``NAME(inputs..., options) -> (output, saved)`` and ``NAME_backward(d_output, saved) -> gradients``: one gradient
for each differentiable input, in order, of the input's shape and dtype (alone where there is one, else a tuple).
The differentiable inputs come first. ``saved`` is what the backward needs. Inputs are never
written to, and may be kept in ``saved``: do not change them before the backward has run.
"""

from handgrad.ops.adam_update import adam_update
from handgrad.ops.attention import attention, attention_backward
from handgrad.ops.cross_entropy import cross_entropy, cross_entropy_backward
from handgrad.ops.dropout import dropout, dropout_backward
from handgrad.ops.embedding import embedding, embedding_backward
from handgrad.ops.gelu import gelu, gelu_backward
from handgrad.ops.layer_norm import layer_norm, layer_norm_backward
from handgrad.ops.linear import linear, linear_backward
from handgrad.ops.multi_head_attention import multi_head_attention, multi_head_attention_backward
from handgrad.ops.relu import relu, relu_backward
from handgrad.ops.softmax import softmax, softmax_backward
from handgrad.ops.unembedding import unembedding, unembedding_backward

__all__ = [
    "adam_update",
    "attention",
    "attention_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_backward",
    "embedding",
    "embedding_backward",
    "gelu",
    "gelu_backward",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "multi_head_attention",
    "multi_head_attention_backward",
    "relu",
    "relu_backward",
    "softmax",
    "softmax_backward",
    "unembedding",
    "unembedding_backward",
]
