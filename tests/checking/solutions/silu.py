"""SiLU's gradient."""

from typing import Any

from handgrad.checking.exercises.silu import silu as silu
from handgrad.system.arrays import Array


def silu_backward(dy: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of silu for x.

    The sigmoid's slope is σ' = σ (1 - σ), so by the product rule
        (x σ)' = σ + x σ (1 - σ),     dx = dy · σ (1 + x (1 - σ)).
    """
    x, sigmoid = saved
    return dy * sigmoid * (1 + x * (1 - sigmoid))
