"""SwiGLU's gradients."""

from typing import Any

from handgrad.checking.exercises.swiglu import swiglu as swiglu
from handgrad.system.arrays import Array


def swiglu_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array]:
    """Gradients of swiglu for gate and value.

    In y = s · v each factor is the other's slope: s = silu(gate) gets ds = dy · v, and d_value = dy · s. Then ds goes
    on through silu, whose slope is σ (1 + gate (1 - σ)).
    """
    gate, sigmoid, value = saved
    d_silu = dy * value
    return d_silu * sigmoid * (1 + gate * (1 - sigmoid)), dy * gate * sigmoid
