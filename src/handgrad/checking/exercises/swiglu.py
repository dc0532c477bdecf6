"""silu(gate) · value, the gate in Llama's MLP: the product rule, for two inputs.

From Shazeer 2020 (https://arxiv.org/abs/2002.05202), where gate and value are two linear maps of the same x.
"""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def swiglu(gate: Array, value: Array) -> tuple[Array, tuple[Any, ...]]:
    """gate · σ(gate) · value with σ(x) = 1 / (1 + exp(-x)), elementwise; gate and value of one shape."""
    sigmoid = 1 / (1 + np.exp(-gate))
    return gate * sigmoid * value, (gate, sigmoid, value)


def swiglu_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array]:
    """Gradients of swiglu for gate and value, in this order: d_gate, d_value."""
    raise NotImplementedError("swiglu_backward is not yet written")
