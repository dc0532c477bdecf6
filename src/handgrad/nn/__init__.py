"""Layers that own their parameters, driven by hand: ``y = layer(x)``, then ``dx = layer.backward(dy)``."""

from handgrad.nn import init
from handgrad.nn.layers import (
    GELU,
    CrossEntropyLoss,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    ReLU,
    Softmax,
    Unembedding,
)
from handgrad.nn.module import Layer, Module
from handgrad.nn.parameter import Parameter
from handgrad.nn.sequential import Sequential
from handgrad.nn.transformer import Attend, FeedForward, MultiHeadAttention, TransformerBlock

__all__ = [
    "GELU",
    "Attend",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "FeedForward",
    "Layer",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "ReLU",
    "Sequential",
    "Softmax",
    "TransformerBlock",
    "Unembedding",
    "init",
]
