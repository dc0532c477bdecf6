"""Operations of ``ops`` compiled with Numba: same names, same signatures, for float32. ``ops`` is their definition.

What is not here runs as it stands in ``ops``. A backward may take one thing more, ``into``: for each input an array to
add its gradient to, instead of a new one. It is returned all the same.
"""

from handgrad.kernels.adam_update import adam_update
from handgrad.kernels.add_gradients import add_gradients
from handgrad.kernels.attention import attention, attention_backward
from handgrad.kernels.cross_entropy import cross_entropy, cross_entropy_backward
from handgrad.kernels.embedding import embedding, embedding_backward
from handgrad.kernels.gelu import gelu, gelu_backward
from handgrad.kernels.layer_norm import layer_norm, layer_norm_backward
from handgrad.kernels.linear import linear, linear_backward
from handgrad.kernels.linear_gelu import linear_gelu, linear_gelu_backward
from handgrad.kernels.linear_relu import linear_relu, linear_relu_backward
from handgrad.kernels.multi_head_attention import multi_head_attention, multi_head_attention_backward
from handgrad.kernels.softmax import softmax, softmax_backward
from handgrad.kernels.unembedding import unembedding, unembedding_backward

__all__ = [
    "adam_update",
    "add_gradients",
    "attention",
    "attention_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "embedding",
    "embedding_backward",
    "gelu",
    "gelu_backward",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "linear_gelu",
    "linear_gelu_backward",
    "linear_relu",
    "linear_relu_backward",
    "multi_head_attention",
    "multi_head_attention_backward",
    "softmax",
    "softmax_backward",
    "unembedding",
    "unembedding_backward",
]
