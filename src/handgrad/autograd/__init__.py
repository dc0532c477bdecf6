"""Tensors and the tape. No formula lives here: the derivatives are those of ``handgrad.ops``."""

from handgrad.autograd import operators as operators
from handgrad.autograd.applying import apply
from handgrad.autograd.creation import (
    arange,
    array,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    tensor,
    zeros,
    zeros_like,
)
from handgrad.autograd.drawing import Graph, graph
from handgrad.autograd.dtypes import bool, float32, float64, int32, int64
from handgrad.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from handgrad.autograd.random import default_generator, manual_seed
from handgrad.autograd.tensor import Tensor, TensorLike

__all__ = [
    "Graph",
    "Tensor",
    "TensorLike",
    "apply",
    "arange",
    "array",
    "bool",
    "default_generator",
    "enable_grad",
    "eye",
    "float32",
    "float64",
    "full",
    "full_like",
    "graph",
    "int32",
    "int64",
    "is_grad_enabled",
    "linspace",
    "manual_seed",
    "no_grad",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "set_grad_enabled",
    "tensor",
    "zeros",
    "zeros_like",
]
