"""Several optimizers, each with parameters of its own, as one."""

from collections.abc import Iterable

from handgrad.nn import Parameter
from handgrad.optim.optimizer import Group, Optimizer, Piece
from handgrad.system.threads import Team


class Combined(Optimizer):
    """One optimizer of several: each keeps its rule, its groups and its options, and moves its own parameters.

        optimizer = Combined([Muon(matrices, lr=0.02), AdamW(others, lr=1e-3)])

    ``param_groups`` are those of all, in order; schedules and ``state_dict`` work as with any optimizer. The optimizers
    are part of the new one from then on: do not step them by themselves.

    Raises ValueError if there is none, or if a parameter belongs to two.
    """

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.defaults: Group = {}
        self.param_groups = [group for each in self.optimizers for group in each.param_groups]
        self._owners = [each for each in self.optimizers for _ in each.param_groups]
        if not self.param_groups:
            raise ValueError("Combined: no optimizers to combine")
        ids = [id(parameter) for parameter in self._parameters()]
        if len(set(ids)) < len(ids):
            raise ValueError("Combined: a parameter belongs to two of the optimizers")
        self.multiplies = any(each.multiplies for each in self.optimizers)
        self._blocks = [blocks for each in self.optimizers for blocks in each._blocks]

    def add_param_group(self, group: Group) -> None:
        """Refused: nothing says which of the optimizers should move the group. Raises ValueError."""
        raise ValueError("Combined: add the group to one of the optimizers before they are combined")

    def state_names_of(self, group: Group) -> tuple[str, ...]:
        return self._owner(group).state_names_of(group)

    def work_of(self, parameter: Parameter, group: Group) -> int:
        return self._owner(group).work_of(parameter, group)

    def _needs_state(self, group: Group) -> bool:
        return self._owner(group)._needs_state(group)

    def _uses_state(self, group: Group) -> bool:
        return self._owner(group)._uses_state(group)

    def _update(self, piece: Piece, group: Group, grad_scale: float, team: Team) -> None:
        self._owner(group)._update(piece, group, grad_scale, team)

    def _owner(self, group: Group) -> Optimizer:
        return next(each for own, each in zip(self.param_groups, self._owners, strict=True) if own is group)
