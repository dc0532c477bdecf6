"""Tensors and the tape. No formula lives here: the derivatives are those of ``handgrad.ops``."""

from handgrad.autograd import operators as operators
from handgrad.autograd.applying import apply
from handgrad.autograd.creation import (
    arange,
    array,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    multinomial,
    normal,
    numel,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    uniform,
    zeros,
    zeros_like,
)
from handgrad.autograd.drawing import Graph, graph
from handgrad.autograd.dtypes import bool, float32, float64, int32, int64
from handgrad.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from handgrad.autograd.random import default_generator, manual_seed
from handgrad.autograd.tensor import Tensor, TensorLike

float, double, int, long = float32, float64, int32, int64  # PyTorch's other names

__all__ = [
    "Graph",
    "Tensor",
    "TensorLike",
    "apply",
    "arange",
    "array",
    "bool",
    "default_generator",
    "double",
    "empty",
    "empty_like",
    "enable_grad",
    "eye",
    "float",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "graph",
    "int",
    "int32",
    "int64",
    "is_grad_enabled",
    "linspace",
    "long",
    "manual_seed",
    "multinomial",
    "no_grad",
    "normal",
    "numel",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "set_grad_enabled",
    "tensor",
    "uniform",
    "zeros",
    "zeros_like",
]
