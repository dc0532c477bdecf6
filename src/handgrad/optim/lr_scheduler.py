"""Objects that set an optimizer's learning rates, by PyTorch's names and formulas.

Make one of an optimizer, and call its ``step()`` after the optimizer's. It multiplies the rate that each group had when
it was made by a factor that depends on how many steps were made. ``schedules`` has the same as plain functions of the
step.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from handgrad.optim.optimizer import Optimizer


class LRScheduler:
    """Sets ``group["lr"]`` of every group to what ``rate(base, step)`` of a subclass says, for steps counted from 0."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: takes an optimizer, not {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        """The learning rates that the groups had."""
        self.last_epoch = 0
        """How many steps were made."""
        self._set()

    def rate(self, base: float, step: int) -> float:
        raise NotImplementedError

    def step(self) -> None:
        """Counts one step and sets the rates."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The present learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on from here."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned, and sets the rates.

        Raises ValueError for a state of another number of groups.
        """
        if len(state["base_lrs"]) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{type(self).__name__}: the state has {len(state['base_lrs'])} groups, the optimizer "
                f"{len(self.optimizer.param_groups)}"
            )
        self.last_epoch, self.base_lrs = int(state["last_epoch"]), list(state["base_lrs"])
        self._set()

    def _set(self) -> None:
        groups = self.optimizer.param_groups
        # A group that was added later starts from the rate that it had then.
        self.base_lrs += [group["lr"] for group in groups[len(self.base_lrs) :]]
        for i, (group, base) in enumerate(zip(groups, self.base_lrs, strict=True)):
            group["lr"] = self._rate_of(i, base)

    def _rate_of(self, group: int, base: float) -> float:
        return self.rate(base, self.last_epoch)


class LambdaLR(LRScheduler):
    """The rate times what a function gives for the step; one function, or one for each group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        self.functions: list[Callable[[int], float]] = (
            [lr_lambda] * len(optimizer.param_groups) if callable(lr_lambda) else list(lr_lambda)
        )
        if len(self.functions) != len(optimizer.param_groups):
            raise ValueError(
                f"LambdaLR: there are {len(self.functions)} functions for {len(optimizer.param_groups)} groups"
            )
        super().__init__(optimizer)

    def _rate_of(self, group: int, base: float) -> float:
        return base * self.functions[group](self.last_epoch)


class StepLR(LRScheduler):
    """The rate, multiplied by ``gamma`` every ``step_size`` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size must be at least 1, not {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base: float, step: int) -> float:
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate, multiplied by ``gamma`` at each of these steps."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, base: float, step: int) -> float:
        return base * self.gamma ** sum(milestone <= step for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """The rate, multiplied by ``gamma`` at each step."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, base: float, step: int) -> float:
        return base * self.gamma**step


class LinearLR(LRScheduler):
    """The rate times a factor that goes evenly from ``start_factor`` to ``end_factor`` in ``total_iters`` steps."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        if total_iters < 1:
            raise ValueError(f"LinearLR: total_iters must be at least 1, not {total_iters}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def rate(self, base: float, step: int) -> float:
        share = min(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the rate down to ``eta_min`` in ``T_max`` steps, then up again (Loshchilov & Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, not {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base: float, step: int) -> float:
        return self.eta_min + 0.5 * (base - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max))
