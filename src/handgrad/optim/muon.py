"""Muon (Keller Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): momentum, orthogonalised."""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

from handgrad import ops
from handgrad.backend import function_for
from handgrad.nn import Parameter
from handgrad.nn.parameter import Part
from handgrad.ops.newton_schulz import COEFFICIENTS
from handgrad.ops.precision import Precision, check_precision
from handgrad.optim.optimizer import Group, Optimizer, Piece
from handgrad.system.threads import Team

AdjustLr = Literal["original", "match_rms_adamw"]

_OPERATIONS_OF_AN_ELEMENT = 100
"""Of a matrix product, about as many as take the time in which Adam moves an element."""


class Muon(Optimizer):
    """Steps whose singular values are all about lr: the momentum of a matrix without its stretching.

        b ← momentum · b + (1 - momentum) · g,    d = (1 - momentum) · g + momentum · b, or d = b if not ``nesterov``
        x ← x - lr · weight_decay · x - lr · scale · newton_schulz(d)

    The mean gradient of a matrix has a few large singular values and many small ones, so that a step along it, or along
    Adam's, changes few directions much and most hardly. ``ops.newton_schulz`` makes all about 1: U S Vᵀ becomes U Vᵀ,
    the steepest step for its size if the size of a matrix is how far it can move an input (its spectral norm).

    Names, defaults and formulas are those of ``torch.optim.Muon``, with these differences:

    - Weights here are (in_features, out_features), PyTorch's the transpose. The orthogonalised transpose is the
      transpose of the orthogonalised matrix; the scale √max(1, rows / columns) of PyTorch's matrix is
      √max(1, out / in) here. ``adjust_lr_fn="match_rms_adamw"`` means the scale 0.2 √max(in, out), which gives steps of
      AdamW's size (Liu et al. 2025, "Muon is scalable for LLM training").
    - Newton-Schulz computes in the parameter's dtype; PyTorch's in bfloat16. With ``precision="bfloat16"`` the operands
      of its matrix products are rounded, see ``ops.precision``.
    - A fused matrix (``Parameter.widths``) is treated as the separate matrices that lie in it.
    - ``cautious``: weight decay shrinks only the coordinates that the step moves toward zero (Chen et al. 2025).

    Parameters must have two axes. Embeddings and the output head have them too, but belong to AdamW, as vectors do:
    ``Combined`` makes one optimizer of both. Raises ValueError for any other shape, widths that do not add up, or an
    unknown precision.
    """

    state_names = ("momentum_buffer",)
    needs_state = True
    multiplies = True

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: AdjustLr | None = None,
        *,
        cautious: bool = False,
        precision: Precision = "float32",
    ) -> None:
        options: Group = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        iteration: Group = {"ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps}
        others: Group = {"adjust_lr_fn": adjust_lr_fn, "cautious": cautious, "precision": precision}
        super().__init__(params, {**options, **iteration, **others})

    @property
    def flops(self) -> int:
        """Multiplications and additions in the matrix products of a step.

        One of n × m, n ≤ m, takes 3 n² m + n³ in each of ``ns_steps``: the products of a matrix with its own transpose
        are symmetric, and only half of them is computed.
        """
        total = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                for columns in _maps(parameter):
                    n, m = sorted((parameter.shape[0], columns.stop - columns.start))
                    total += group["ns_steps"] * (3 * n * n * m + n**3)
        return total

    def _check(self, group: Group) -> None:
        super()._check(group)
        check_precision("Muon", group["precision"])
        for name in ("momentum", "eps", "ns_steps"):
            if not group[name] >= 0:
                raise ValueError(f"Muon: {name} must be at least 0, not {group[name]}")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"Muon: adjust_lr_fn must be None, 'original' or 'match_rms_adamw', not {group['adjust_lr_fn']!r}"
            )
        if len(group["ns_coefficients"]) != 3:
            raise ValueError(f"Muon: ns_coefficients must be three numbers, not {group['ns_coefficients']}")
        for parameter in group["params"]:
            if parameter.ndim != 2:
                raise ValueError(f"Muon: a parameter must have two axes, not shape {parameter.shape}")
            widths = getattr(parameter, "widths", ())
            if widths and sum(widths) != parameter.shape[1]:
                raise ValueError(f"Muon: the widths {widths} do not add up to the {parameter.shape[1]} columns")

    def work_of(self, parameter: Parameter, group: Group) -> int:
        # An iteration multiplies three matrices: up to 6 · smaller side operations for each element.
        operations = sum(
            6 * group["ns_steps"] * min(parameter.shape[0], columns.stop - columns.start) * parameter.shape[0]
            * (columns.stop - columns.start)
            for columns in _maps(parameter)
        )  # fmt: skip
        return parameter.size + operations // _OPERATIONS_OF_AN_ELEMENT

    def _update(self, piece: Piece, group: Group, grad_scale: float, team: Team) -> None:
        momentum, decay = group["momentum"], group["lr"] * group["weight_decay"]
        orthogonalise = function_for(ops.newton_schulz, piece.data, piece.grad)
        iteration = (group["ns_steps"], group["ns_coefficients"], group["eps"], group["precision"])

        def update_map(item: tuple[Part, slice]) -> None:
            part, columns = item
            flat = (piece.data, piece.grad, piece.state["momentum_buffer"])
            x, grad, mean = (part.of(array)[:, columns] for array in flat)
            direction = grad * ((1 - momentum) * grad_scale)
            mean *= momentum
            mean += direction
            if group["nesterov"]:
                direction += momentum * mean
            else:
                direction = mean
            step = orthogonalise(direction, *iteration)
            if decay and group["cautious"]:
                x -= decay * (x * (step * x >= 0))
            elif decay:
                x *= 1 - decay
            x -= (group["lr"] * _scale(group["adjust_lr_fn"], *x.shape)) * step

        # A matrix is one piece of work whatever the team, so that bits do not depend on the number of threads.
        team.map(update_map, [(part, columns) for part in piece.parts for columns in _maps(part.parameter)])


def _maps(parameter: Parameter) -> Iterator[slice]:
    """The columns of each linear map in a matrix."""
    start = 0
    for width in getattr(parameter, "widths", ()) or (parameter.shape[1],):  # a plain Tensor has no widths
        yield slice(start, start + width)
        start += width


def _scale(adjust_lr_fn: AdjustLr | None, inputs: int, outputs: int) -> float:
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(inputs, outputs))
    return math.sqrt(max(1, outputs / inputs))
