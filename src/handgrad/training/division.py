"""Which process moves which parameters, when several processes train one model.

Each process has all weights. It moves the parameters of its own part and keeps the optimizer's state of these alone.
Parts end where a parameter ends, as Muon needs whole matrices.
"""

from typing import Any

from handgrad.models import LanguageModel
from handgrad.nn import Parameter
from handgrad.optim import Optimizer
from handgrad.system.processes import Processes


class Division:
    """The parameters of a model, divided among processes: neighbours in the flat arrays, about equal work for each.

    From then on the optimizer moves the parameters of this process alone. The optimizer of process 0 may have state,
    which is given to those that need it.
    """

    def __init__(self, model: LanguageModel, optimizer: Optimizer, processes: Processes) -> None:
        self.processes = processes
        parts = model.arena.parts
        work = {
            id(parameter): optimizer.work_of(parameter, group)
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        owners = _owners([work.get(id(part.parameter), 0) for part in parts], processes.size)
        self._owners = {id(part.parameter): owner for part, owner in zip(parts, owners, strict=True)}
        starts = [next((p.span.start for p, o in zip(parts, owners, strict=True) if o >= rank), model.arena.data.size)
                  for rank in range(processes.size)]  # fmt: skip
        self.spans = [
            slice(start, stop) for start, stop in zip(starts, [*starts[1:], model.arena.data.size], strict=True)
        ]
        """The part of each process in the flat arrays of the model."""
        self._share_state(optimizer)

    def is_own(self, parameter: Parameter) -> bool:
        """Whether this process moves a parameter."""
        return self._owners[id(parameter)] == self.processes.rank

    def whole_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """In process 0 the optimizer's whole state, for a checkpoint. All processes call this at the same time."""
        processes = self.processes
        state: dict[str, Any] = optimizer.state_dict()
        for index, owner in enumerate(self._owners_of(optimizer)):
            if owner == 0 or index not in state["state"]:
                continue
            # One parameter at a time, so that no process needs memory for more.
            if processes.rank == owner:
                processes.send(state["state"][index], 0)
            elif processes.is_first:
                state["state"][index] = processes.received(owner)
        return state

    def _share_state(self, optimizer: Optimizer) -> None:
        processes = self.processes
        state: dict[str, Any] = optimizer.state_dict()
        given = state["state"]
        steps = processes.from_first(lambda: {index: {"step": values["step"]} for index, values in given.items()})
        state["state"] = dict(steps)
        for index, owner in enumerate(self._owners_of(optimizer)):
            if index not in steps:
                continue
            if processes.rank == owner:
                state["state"][index] = given[index] if owner == 0 else processes.received(0)
            elif processes.is_first:
                processes.send(given[index], owner)
        optimizer.move_only(p for p in _parameters(optimizer) if self.is_own(p))
        optimizer.load_state_dict(state)

    def _owners_of(self, optimizer: Optimizer) -> list[int]:
        return [self._owners[id(parameter)] for parameter in _parameters(optimizer)]


def _parameters(optimizer: Optimizer) -> list[Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _owners(work: list[int], count: int) -> list[int]:
    """Who does each piece of work, so that neighbours go to the same owner and all have about equally much."""
    total, before, owners = max(sum(work), 1), 0, []
    for each in work:
        # By the middle of the piece: a large one goes to the owner that has most of its place.
        owners.append(min((2 * before + each) * count // (2 * total), count - 1))
        before += each
    return owners
