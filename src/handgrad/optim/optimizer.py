"""What all optimizers share: parameter groups, the blocks of memory they walk over, and their state."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.autograd import Tensor
from handgrad.nn import Parameter
from handgrad.nn.parameter import Part, Place, parts_of
from handgrad.system.arrays import Array
from handgrad.system.threads import ALONE, Team

Group = dict[str, Any]


@dataclass
class Piece:
    """Parameters that make a step in one pass: they lie one after another and have made the same number of steps.

    All arrays are flat views of equal size: writing into them moves the parameters and their state.
    """

    parameters: list[Parameter]
    data: Array
    grad: Array
    state: dict[str, Array]
    """The arrays of the state, by their names in ``state_names``."""
    step: int
    """The number of the step to make, counted from 1."""
    is_new: bool
    """Whether these parameters have no state yet; the arrays are zeros then."""

    @property
    def parts(self) -> list[Part]:
        """Each parameter with its span of the arrays."""
        return parts_of(self.parameters)


class FlatBlock:
    """Consecutive parameters of a group that lie one after another in the same flat arrays, with their state.

    Parameters of a GPT share one arena, so that each group is a single block, and a step a single pass. A parameter
    with memory of its own is a block by itself.

    The state is flat too: an array of the block's size for each of the optimizer's names, made once. A step walks over
    the block in pieces. A frozen parameter is in no piece, and its part of the state waits until it moves again.
    """

    def __init__(self, parameters: list[Parameter], is_own: bool = True) -> None:
        self.parameters = parameters
        self.is_own = is_own
        """Whether these parameters move here. If another process moves them, their steps are counted, and nothing else.
        """
        self.parts = parts_of(parameters)
        self.size = self.parts[-1].span.stop
        self.steps = [0] * len(parameters)
        """How many steps each parameter has made."""
        self.has_state = [False] * len(parameters)
        """Whether each parameter's part of the state has been written. SGD writes none without momentum."""
        self.state: dict[str, Array] = {}

    def allocate(self, names: Iterable[str]) -> None:
        """Creates the missing arrays of the state, of zeros."""
        for name in names if self.is_own else ():
            if name not in self.state:
                self.state[name] = np.zeros(self.size, self.parameters[0].dtype, like=self.parameters[0].data)

    def ready(self) -> list[range]:
        """The pieces of the next step, by the indices of their parameters: all that require a gradient and have one."""
        pieces: list[range] = []
        for index, parameter in enumerate(self.parameters):
            if not parameter.requires_grad or parameter.grad is None:
                continue
            if pieces and pieces[-1].stop == index and self._moves_with_the_one_before(index):
                pieces[-1] = range(pieces[-1].start, index + 1)
            else:
                pieces.append(range(index, index + 1))
        return pieces

    def _moves_with_the_one_before(self, index: int) -> bool:
        before = index - 1
        return (
            self.steps[before] == self.steps[index]
            and self.has_state[before] == self.has_state[index]
            # They were when the block was made, but an arena that was made later may have moved them.
            and _is_followed_by(self.parameters[before], self.parameters[index])
        )

    def piece(self, indices: range) -> Piece:
        """The parameters of these indices, seen as flat arrays."""
        first, last = indices[0], indices[-1]
        span = slice(self.parts[first].span.start, self.parts[last].span.stop)
        data, grad = _flat(self.parameters[first], self.parameters[last])
        state = {name: array[span] for name, array in self.state.items()}
        parameters = self.parameters[first : last + 1]
        return Piece(parameters, data, grad, state, self.steps[first] + 1, not self.has_state[first])


class Optimizer:
    """Moves parameters against their gradients. Semantics, names and defaults are PyTorch's.

    ``params``: an iterable of Parameters, of pairs of a name and a Parameter, or of groups
    ``{"params": [...], "lr": ..., ...}`` whose options override the defaults. ``param_groups`` holds them; a schedule
    writes ``group["lr"]``.

    Raises ValueError for no parameters, an unknown option, or a parameter in two groups, TypeError for anything that is
    no parameter.
    """

    state_names: tuple[str, ...] = ()
    """The names of the arrays that the optimizer keeps for each parameter. If they depend on a group's options,
    ``state_names_of`` gives those of the group."""
    needs_state = False
    """Whether every parameter that has made a step has these arrays."""
    multiplies = False
    """Whether a step multiplies matrices, so that BLAS and the threads of ``team`` should not compete for the cores."""
    _own: frozenset[int] | None = None
    """The ids of the parameters that move here; None for all."""

    def __init__(self, params: Iterable[Parameter] | Iterable[Group], defaults: Group) -> None:
        given = list(params)
        groups: list[Any] = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.defaults = defaults
        self.param_groups: list[Group] = []
        for group in groups:
            self.param_groups.append(self._checked(group))
        if not self._parameters():
            raise ValueError(f"{type(self).__name__}: no parameters to optimize")
        self._blocks = self._new_blocks()

    def add_param_group(self, group: Group) -> None:
        """Adds a group, ``{"params": [...], "lr": ..., ...}``, to those that are optimized.

        Raises ValueError for an unknown option, or a parameter that is in a group already.
        """
        checked = self._checked(group)
        self.param_groups.append(checked)
        self._blocks.append(self._blocks_of(checked["params"]))

    def _checked(self, group: Group) -> Group:
        """The group with all options, if it may be added to the groups so far."""
        name = type(self).__name__
        if not isinstance(group, dict) or "params" not in group:
            raise ValueError(f"{name}: a group has no params")
        given = group["params"]
        # named_parameters() gives pairs of a name and a parameter.
        parameters: list[Any] = [
            each[1] if isinstance(each, tuple) and len(each) == 2 else each
            for each in ([given] if isinstance(given, Tensor) else given)
        ]
        for parameter in parameters:
            if not isinstance(parameter, Tensor):
                raise TypeError(f"{name}: optimizes Parameters and Tensors, not {type(parameter).__name__}")
        unknown = [option for option in group if option != "params" and option not in self.defaults]
        if unknown:
            raise ValueError(f"{name}: unknown option {unknown[0]!r}; supported are {', '.join(self.defaults)}")
        if any(not parameter.is_leaf for parameter in parameters):
            raise ValueError(
                f"{name}: a computed tensor cannot be optimized: it gets no gradient; pass the tensors it was computed "
                "from, or its detach()"
            )
        ids = {id(parameter) for parameter in parameters}
        if ids & {id(parameter) for parameter in self._parameters()}:
            raise ValueError(f"{name}: a parameter is in two groups")
        if len(ids) < len(parameters):
            raise ValueError(f"{name}: a parameter is in one group twice")
        checked = {**self.defaults, **group, "params": parameters}
        self._check(checked)
        return checked

    def step(self, *, grad_scale: float = 1.0, team: Team = ALONE) -> None:
        """One update of every parameter that requires a gradient and has one.

        Gradients are multiplied by ``grad_scale``, which clips them without a pass over memory. The threads of ``team``
        may share the work; the result is the same.
        """
        for group, blocks in zip(self.param_groups, self._blocks, strict=True):
            uses_state = self._uses_state(group)
            for block in blocks:
                for indices in block.ready():
                    if uses_state:
                        block.allocate(self.state_names_of(group))
                    piece = block.piece(indices)
                    for index in indices:
                        block.steps[index] += 1
                        block.has_state[index] |= uses_state
                    if block.is_own:
                        self._update(piece, group, grad_scale, team)
                    for parameter in piece.parameters:
                        parameter.mark_changed()

    def move_only(self, parameters: Iterable[Parameter]) -> None:
        """From now on only these parameters move, and only they have state: other processes move the others.

        The steps of all are counted. Drops the state so far; ``load_state_dict`` takes it over, of these parameters.
        """
        self._own = frozenset(map(id, parameters))
        self._blocks = self._new_blocks()

    def work_of(self, parameter: Parameter, group: Group) -> int:
        """About how long it takes to move a parameter, in units of the time that Adam takes for an element."""
        return parameter.size

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all parameters, or fills them with zeros."""
        for parameter in self._parameters():
            parameter.zero_grad(set_to_none)

    def _parameters(self) -> list[Parameter]:
        """All of them, in the order of their indices."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _check(self, group: Group) -> None:
        for name in ("lr", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 0, not {group[name]}")

    def state_names_of(self, group: Group) -> tuple[str, ...]:
        """The names of the arrays that the optimizer keeps for each parameter of a group."""
        return self.state_names

    def _needs_state(self, group: Group) -> bool:
        """Whether every parameter of a group that has made a step has these arrays."""
        return self.needs_state

    def _uses_state(self, group: Group) -> bool:
        """Whether a step of this group reads and writes these arrays."""
        return bool(self.state_names_of(group))

    def _update(self, piece: Piece, group: Group, grad_scale: float, team: Team) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {index: {"step": t, NAME: array}}, "param_groups": [...]}``, parameters by their index.

        Arrays are copies, of the parameters' shapes.
        """
        state: dict[int, dict[str, Any]] = {}
        for index, (block, i) in enumerate(self._positions()):
            if block.steps[i]:
                arrays = block.state if block.has_state[i] else {}
                copies = {name: block.parts[i].of(array).copy() for name, array in arrays.items()}
                state[index] = {"step": block.steps[i], **copies}
        groups, count = [], 0
        for group in self.param_groups:
            indices = list(range(count, count + len(group["params"])))
            count += len(indices)
            groups.append({**group, "params": indices})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned for an optimizer with the same groups of the same parameters.

        Raises ValueError if they differ; then nothing changes.
        """
        own = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in saved["param_groups"]]
        if own != theirs:
            raise ValueError(f"{type(self).__name__}: the state has groups of {theirs} parameters, not of {own}")
        groups = [group for group in self.param_groups for _ in group["params"]]
        for index, (parameter, group) in enumerate(zip(self._parameters(), groups, strict=True)):
            values = dict(saved["state"].get(index, {}))
            step, names = values.pop("step", 0), self.state_names_of(group)
            is_missing = step and self._needs_state(group) and not values and self._is_own(parameter)
            if set(values) not in (set(), set(names)) or is_missing:
                found = ", ".join(values) or "nothing"
                raise ValueError(f"{type(self).__name__}: parameter {index} has {found}, not {', '.join(names)}")
            for name, value in values.items():
                if np.shape(value) != parameter.shape:
                    raise ValueError(
                        f"{type(self).__name__}: {name} of parameter {index} has shape {np.shape(value)}, "
                        f"not {parameter.shape}"
                    )
        for group, options in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in options.items() if name != "params"})
        self._blocks = self._new_blocks()
        for index, ((block, i), group) in enumerate(zip(self._positions(), groups, strict=True)):
            values = dict(saved["state"].get(index, {}))
            block.steps[i] = int(values.pop("step", 0))
            if values and block.is_own:
                block.allocate(self.state_names_of(group))
                block.has_state[i] = True
                for name, value in values.items():
                    block.parts[i].of(block.state[name])[...] = value

    def _new_blocks(self) -> list[list[FlatBlock]]:
        """The blocks of each group, without steps or state."""
        return [self._blocks_of(group["params"]) for group in self.param_groups]

    def _blocks_of(self, parameters: list[Parameter]) -> list[FlatBlock]:
        """The parameters, in their order, cut wherever one does not follow the one before in memory, or moves elsewhere
        than that one.
        """
        blocks: list[list[Parameter]] = []
        for parameter in parameters:
            before = blocks[-1][-1] if blocks else None
            if before is not None and _is_followed_by(before, parameter) and self._same_owner(before, parameter):
                blocks[-1].append(parameter)
            else:
                blocks.append([parameter])
        return [FlatBlock(block, self._is_own(block[0])) for block in blocks]

    def _is_own(self, parameter: Parameter) -> bool:
        return self._own is None or id(parameter) in self._own

    def _same_owner(self, first: Parameter, second: Parameter) -> bool:
        return self._is_own(first) == self._is_own(second)

    def _positions(self) -> Iterator[tuple[FlatBlock, int]]:
        """For each parameter, in the order of their indices, its block and its number there."""
        return ((block, i) for blocks in self._blocks for block in blocks for i in range(len(block.parameters)))


def _place(parameter: Parameter) -> Place | None:
    return parameter.place if isinstance(parameter, Parameter) else None  # a plain Tensor may be optimized too


def _is_followed_by(first: Parameter, second: Parameter) -> bool:
    place = _place(first)
    return place is not None and place.is_followed_by(_place(second))


def _flat(first: Parameter, last: Parameter) -> tuple[Array, Array]:
    """Values and gradients of parameters that follow each other, or of a single one, as flat arrays."""
    begin, end = _place(first), _place(last)
    if begin is not None and end is not None:
        span = slice(begin.span.start, end.span.stop)
        return begin.data[span], begin.grad[span]
    assert first.grad is not None
    return _flattened(first.data), _flattened(first.grad)


def _flattened(array: Array) -> Array:
    flat = array.reshape(-1)
    if not np.shares_memory(flat, array) and array.size:
        raise ValueError("optimizer: a parameter's array must be contiguous in memory")
    return flat
