"""Stochastic gradient descent, plain, with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013)."""

from collections.abc import Iterable

from handgrad.nn import Parameter
from handgrad.optim.optimizer import Group, Optimizer, Piece
from handgrad.system.threads import Team


class SGD(Optimizer):
    """x ← x - lr · d, with d the gradient; with momentum

    g ← g + weight_decay · x,   b ← momentum · b + (1 - dampening) · g   (b = g at the first step),
    d = b, or g + momentum · b if ``nesterov``.
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(params, {**options, "weight_decay": weight_decay, "nesterov": nesterov})

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not group["momentum"] >= 0:
            raise ValueError(f"SGD: momentum must be at least 0, not {group['momentum']}")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")

    def _uses_state(self, group: Group) -> bool:
        return bool(group["momentum"])

    def _update(self, piece: Piece, group: Group, grad_scale: float, team: Team) -> None:
        data, grad, momentum = piece.data, piece.grad, group["momentum"]
        if grad_scale != 1:
            grad = grad * grad_scale
        direction = grad + group["weight_decay"] * data if group["weight_decay"] else grad
        if momentum:
            buffer = piece.state["momentum_buffer"]
            if piece.is_new:
                buffer[...] = direction
            else:
                buffer *= momentum
                buffer += (1 - group["dampening"]) * direction
            direction = direction + momentum * buffer if group["nesterov"] else buffer
        data -= group["lr"] * direction
