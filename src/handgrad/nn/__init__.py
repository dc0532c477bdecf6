"""Layers that own their parameters, driven two ways.

By hand, with arrays: ``y = layer(x)``, then ``dx = layer.backward(dy)``. On the tape, with Tensors: ``y = layer(x)``,
then ``loss.backward()`` for a loss computed from y.
"""

from handgrad.nn import functional, init
from handgrad.nn.activations import (
    GELU,
    LeakyReLU,
    ReLU,
    ReLUSquared,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SwiGLU,
    Tanh,
    TanhCap,
)
from handgrad.nn.attention import Attend, AttendBetween, CrossAttention, MultiHeadAttention
from handgrad.nn.base_layer import Layer
from handgrad.nn.data_loader import DataLoader, Dataset, TensorDataset, TokenDataset
from handgrad.nn.layers import (
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    MaxPool2d,
    RMSNorm,
    TokenShift,
    Unembedding,
)
from handgrad.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, cross_entropy_loss, mse_loss
from handgrad.nn.module import ArrayOrTensor, Module, is_on_tape
from handgrad.nn.parameter import Buffer, Parameter
from handgrad.nn.sequential import MLP, ModuleDict, ModuleList, Sequential
from handgrad.nn.transformer import FeedForward, TransformerBlock, new_norm

__all__ = [
    "GELU",
    "MLP",
    "ArrayOrTensor",
    "Attend",
    "AttendBetween",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Buffer",
    "Conv2d",
    "CrossAttention",
    "CrossEntropyLoss",
    "DataLoader",
    "Dataset",
    "Dropout",
    "Embedding",
    "FeedForward",
    "Flatten",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "ReLUSquared",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SwiGLU",
    "Tanh",
    "TanhCap",
    "TensorDataset",
    "TokenDataset",
    "TokenShift",
    "TransformerBlock",
    "Unembedding",
    "cross_entropy_loss",
    "functional",
    "init",
    "is_on_tape",
    "mse_loss",
    "new_norm",
]
