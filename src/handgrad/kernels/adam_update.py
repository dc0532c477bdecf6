"""A step of Adam in one pass over memory, compiled. Defined by ``ops.adam_update``."""

import math

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled


def adam_update(
    data: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    grad_scale: float = 1.0,
    cautious: bool = False,
) -> None:
    """As ``ops.adam_update``."""
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    pull = 0.0 if decoupled else weight_decay
    step_size = lr / (1 - beta1**step)
    correction = 1 / math.sqrt(1 - beta2**step)
    numbers = (shrink, pull, beta1, 1 - beta1, beta2, 1 - beta2, step_size, correction, eps, grad_scale)
    # Two functions: a branch in the loop could change the bits of runs without it.
    update = _cautious_update if cautious and decoupled else _update
    update(data, grad, exp_avg, exp_avg_sq, *(np.float32(number) for number in numbers))


@compiled
def _update(  # type: ignore[no-untyped-def]
    data, grad, exp_avg, exp_avg_sq, shrink, pull, beta1, rest1, beta2, rest2, step_size, correction, eps, grad_scale
):
    for i in range(data.size):
        x = data[i] * shrink
        g = grad[i] * grad_scale + pull * data[i]
        m = beta1 * exp_avg[i] + rest1 * g
        v = beta2 * exp_avg_sq[i] + rest2 * g * g
        exp_avg[i], exp_avg_sq[i] = m, v
        data[i] = x - step_size * m / (np.sqrt(v) * correction + eps)


@compiled
def _cautious_update(  # type: ignore[no-untyped-def]
    data, grad, exp_avg, exp_avg_sq, shrink, pull, beta1, rest1, beta2, rest2, step_size, correction, eps, grad_scale
):
    for i in range(data.size):
        g = grad[i] * grad_scale
        m = beta1 * exp_avg[i] + rest1 * g
        v = beta2 * exp_avg_sq[i] + rest2 * g * g
        exp_avg[i], exp_avg_sq[i] = m, v
        x = data[i] * shrink if m * data[i] >= 0 else data[i]
        data[i] = x - step_size * m / (np.sqrt(v) * correction + eps)
