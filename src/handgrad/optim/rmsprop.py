"""RMSprop (Tieleman & Hinton 2012, lecture 6.5 of "Neural networks for machine learning")."""

from collections.abc import Iterable

import numpy as np

from handgrad.nn import Parameter
from handgrad.optim.optimizer import Group, Optimizer, Piece
from handgrad.system.threads import Team


class RMSprop(Optimizer):
    """Steps of about lr in every coordinate: the gradient divided by the root of its mean square.

        g ← g + weight_decay · x,   v ← alpha · v + (1 - alpha) · g²,   d = g / (√v + eps)

    If ``centered``, v is replaced by v - m², with m the mean gradient, m ← alpha · m + (1 - alpha) · g. With momentum
    b ← momentum · b + d and x ← x - lr · b, else x ← x - lr · d.
    """

    state_names = ("square_avg",)
    needs_state = True

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "momentum": momentum, "centered": centered})

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not 0 <= group["alpha"] < 1:
            raise ValueError(f"RMSprop: alpha must lie in [0, 1), not {group['alpha']}")
        for name in ("eps", "momentum"):
            if not group[name] >= 0:
                raise ValueError(f"RMSprop: {name} must be at least 0, not {group[name]}")

    def state_names_of(self, group: Group) -> tuple[str, ...]:
        more = [name for name, option in (("grad_avg", "centered"), ("momentum_buffer", "momentum")) if group[option]]
        return (*self.state_names, *more)

    def _update(self, piece: Piece, group: Group, grad_scale: float, team: Team) -> None:
        grad, alpha = piece.grad, group["alpha"]
        if grad_scale != 1:
            grad = grad * grad_scale
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * piece.data
        square_avg = piece.state["square_avg"]
        square_avg *= alpha
        square_avg += (1 - alpha) * np.square(grad)
        mean_square = square_avg
        if group["centered"]:
            grad_avg = piece.state["grad_avg"]
            grad_avg *= alpha
            grad_avg += (1 - alpha) * grad
            mean_square = square_avg - np.square(grad_avg)
        direction = grad / (np.sqrt(mean_square) + group["eps"])
        if group["momentum"]:
            buffer = piece.state["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += direction
            direction = buffer
        piece.data -= group["lr"] * direction
