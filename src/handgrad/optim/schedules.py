"""The learning rate over a run, as functions of the step, which is counted from 0.

``lr_scheduler.LambdaLR(optimizer, schedules.trapezoid(1.0, 0.0, max_steps))`` sets an optimizer's rates by one of them.
"""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]
DecayShape = Literal["linear", "sqrt"]


def constant(lr: float, warmup_steps: int = 0) -> Schedule:
    """``lr`` at every step, after a linear warm-up."""
    return _with_warmup(lambda step: lr, lr, warmup_steps)


def step_decay(lr: float, step_size: int, gamma: float = 0.1, warmup_steps: int = 0) -> Schedule:
    """``lr``, multiplied by ``gamma`` every ``step_size`` steps (PyTorch's StepLR), after a linear warm-up."""
    if step_size < 1:
        raise ValueError(f"step_decay: step_size must be at least 1, not {step_size}")
    return _with_warmup(lambda step: lr * gamma ** (step // step_size), lr, warmup_steps)


def cosine(lr: float, min_lr: float, max_steps: int, warmup_steps: int = 0) -> Schedule:
    """Half a cosine from ``lr``, at the end of the linear warm-up, to ``min_lr`` at ``max_steps`` and after.

    Loshchilov & Hutter 2017, equation 5, without restarts.
    """

    def rate(step: int) -> float:
        progress = min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))
        return min_lr + 0.5 * (lr - min_lr) * (1 + math.cos(math.pi * progress))

    return _with_warmup(rate, lr, warmup_steps)


def trapezoid(
    lr: float,
    min_lr: float,
    max_steps: int,
    warmup_steps: int = 0,
    decay_fraction: float = 0.4,
    decay_shape: DecayShape = "linear",
) -> Schedule:
    """``lr`` after the linear warm-up, then a fall to ``min_lr`` over the last ``decay_fraction`` of the steps.

    Hägele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations", section 3. From s,
    the share of the fall that is over, the rate is min_lr + (lr - min_lr) f(s), with f(s) = 1 - s for ``linear`` and
    1 - √s for ``sqrt``. It is ``min_lr`` at ``max_steps`` and after. The fall begins after the warm-up at the earliest.

    Raises ValueError unless 0 < decay_fraction ≤ 1, and for an unknown shape.
    """
    if not 0 < decay_fraction <= 1:
        raise ValueError(f"trapezoid: decay_fraction must lie in (0, 1], not {decay_fraction}")
    if decay_shape not in ("linear", "sqrt"):
        raise ValueError(f"trapezoid: decay_shape must be 'linear' or 'sqrt', not {decay_shape!r}")
    begin = max(warmup_steps, max_steps * (1 - decay_fraction))

    def rate(step: int) -> float:
        over = min(1.0, max(0.0, (step - begin) / max(1.0, max_steps - begin)))
        return min_lr + (lr - min_lr) * (1 - (over if decay_shape == "linear" else math.sqrt(over)))

    return _with_warmup(rate, lr, warmup_steps)


def _with_warmup(rate: Schedule, lr: float, warmup_steps: int) -> Schedule:
    """Steps 0 … warmup_steps - 1 climb evenly to ``lr``; the first is already above zero, so none is wasted."""
    if warmup_steps < 0:
        raise ValueError(f"schedule: warmup_steps must be at least 0, not {warmup_steps}")
    return lambda step: lr * (step + 1) / (warmup_steps + 1) if step < warmup_steps else rate(step)
