"""Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019)."""

from collections.abc import Iterable

from handgrad import ops
from handgrad.backend import function_for
from handgrad.nn import Parameter
from handgrad.optim.optimizer import Group, Optimizer, Piece
from handgrad.system.threads import Team


class Adam(Optimizer):
    """Steps of about lr in every coordinate: the mean gradient divided by the root of the mean squared gradient.

    The formula is that of ``ops.adam_update``. Weight decay is added to the gradient.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    needs_state = True
    decoupled = False

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{type(self).__name__}: betas must lie in [0, 1), not {group['betas']}")
        if not group["eps"] >= 0:
            raise ValueError(f"{type(self).__name__}: eps must be at least 0, not {group['eps']}")

    def _update(self, piece: Piece, group: Group, grad_scale: float, team: Team) -> None:
        arrays = (piece.data, piece.grad, piece.state["exp_avg"], piece.state["exp_avg_sq"])
        update = function_for(ops.adam_update, piece.data, piece.grad)
        beta1, beta2 = group["betas"]

        def update_span(span: slice) -> None:
            update(
                *(array[span] for array in arrays),
                step=piece.step,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                decoupled=self.decoupled,
                grad_scale=grad_scale,
                cautious=group.get("cautious", False),
            )

        team.map(update_span, team.pieces(piece.data.size))


class AdamW(Adam):
    """Adam with decoupled weight decay: weights shrink by lr · weight_decay, whatever their gradients.

    ``cautious``, which PyTorch's does not have: only the coordinates that the step moves toward zero shrink, so that
    decay never works against the step (Chen et al. 2025, "Cautious weight decay").
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        cautious: bool = False,
    ) -> None:
        options: Group = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "cautious": cautious}
        Optimizer.__init__(self, params, options)
