"""What all optimizers share: parameter groups, the flat runs of memory they walk over, and their state."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from handgrad.arrays import Array
from handgrad.nn import Parameter
from handgrad.threads import ALONE, Team

Group = dict[str, Any]


class Run:
    """Parameters that lie one after another in memory, seen as one flat array, with their optimizer state.

    Parameters of a GPT share one array, so that each group is a single run and a step a single pass; a parameter
    with an array of its own is a run by itself.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        self.parameters = parameters
        self.size = sum(parameter.size for parameter in parameters)
        self.step = 0
        self.state: dict[str, Array] = {}

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.parameters[0].dtype

    @property
    def learns(self) -> bool:
        return self.parameters[0].requires_grad

    def data(self) -> Array:
        return self._flat([parameter.data for parameter in self.parameters])

    def grad(self) -> Array | None:
        """The gradients as one flat array; None where there is none yet."""
        grads = [parameter.grad for parameter in self.parameters]
        return None if grads[0] is None else self._flat([grad for grad in grads if grad is not None])

    def zeros(self) -> Array:
        """A new flat array for a state of the optimizer."""
        return np.zeros(self.size, self.dtype)

    def _flat(self, arrays: list[Array]) -> Array:
        first = arrays[0]
        if len(arrays) == 1:
            flat = first.reshape(-1)
            if not np.shares_memory(flat, first) and first.size:
                raise ValueError("optimizer: a parameter's array must be contiguous in memory")
            return flat
        itemsize = first.dtype.itemsize
        start = (_address(first) - _address(first.base)) // itemsize
        return first.base.reshape(-1)[start : start + self.size]  # type: ignore[union-attr]


class Optimizer:
    """Moves parameters against their gradients. Semantics, names and defaults are PyTorch's.

    ``params``: an iterable of Parameters, or of groups ``{"params": [...], "lr": ..., ...}`` whose options override
    the defaults. ``param_groups`` holds them; a schedule writes ``group["lr"]``.

    Raises ValueError for no parameters, an unknown option, or a parameter in two groups.
    """

    state_names: tuple[str, ...] = ()
    """The arrays that are kept for each parameter."""
    needs_state = False
    """Whether they are there for every parameter that has made a step."""

    def __init__(self, params: Iterable[Parameter] | Iterable[Group], defaults: Group) -> None:
        given = list(params)
        groups: list[Any] = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.param_groups: list[Group] = []
        seen: set[int] = set()
        for group in groups:
            if "params" not in group:
                raise ValueError(f"{type(self).__name__}: a group has no params")
            parameters = list(group["params"])
            unknown = [name for name in group if name != "params" and name not in defaults]
            if unknown:
                raise ValueError(
                    f"{type(self).__name__}: unknown option {unknown[0]!r}; known are {', '.join(defaults)}"
                )
            if any(not parameter.is_leaf for parameter in parameters):
                raise ValueError(
                    f"{type(self).__name__}: a computed tensor is no parameter: it would get no gradient; give the "
                    "tensors it was computed from, or its detach()"
                )
            if seen & {id(parameter) for parameter in parameters}:
                raise ValueError(f"{type(self).__name__}: a parameter stands in two groups")
            if len({id(parameter) for parameter in parameters}) < len(parameters):
                raise ValueError(f"{type(self).__name__}: a parameter stands twice in one group")
            seen |= {id(parameter) for parameter in parameters}
            self.param_groups.append({**defaults, **group, "params": parameters})
        if not seen:
            raise ValueError(f"{type(self).__name__}: no parameters to optimize")
        for group in self.param_groups:
            self._check(group)
        self._cut_into_runs()

    def step(self, *, grad_scale: float = 1.0, team: Team = ALONE) -> None:
        """One update of every parameter that requires a gradient and has one.

        Gradients count ``grad_scale`` times, which clips them without a pass over memory. The threads of ``team`` may
        share the work; the result is the same.
        """
        if self._learning != self._which_learn():
            self.load_state_dict(self.state_dict())  # which cuts the runs anew
        for group, runs in zip(self.param_groups, self._runs, strict=True):
            for run in runs:
                grad = run.grad()
                if grad is not None and run.learns:
                    run.step += 1
                    self._update(run, run.data(), grad, group, grad_scale, team)
                    for parameter in run.parameters:
                        parameter.mark_changed()

    def zero_grad(self) -> None:
        """Forgets the gradients of all parameters."""
        for parameter in self._parameters():
            parameter.zero_grad()

    def _parameters(self) -> list[Parameter]:
        """All of them, in the order of their indices."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _which_learn(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self._parameters()]

    def _cut_into_runs(self, steps: dict[int, int] | None = None) -> None:
        """``steps``: how many each parameter has made, by index; a run makes them together."""
        self._learning = self._which_learn()
        made = {id(parameter): (steps or {}).get(index, 0) for index, parameter in enumerate(self._parameters())}
        self._runs = [_runs_of(group["params"], made) for group in self.param_groups]

    def _check(self, group: Group) -> None:
        for name in ("lr", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 0, not {group[name]}")

    def _update(self, run: Run, data: Array, grad: Array, group: Group, grad_scale: float, team: Team) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {index: {"step": t, NAME: array}}, "param_groups": [...]}``, parameters by their index.

        Arrays are copies, of the parameters' shapes.
        """
        state: dict[int, dict[str, Any]] = {}
        for index, (run, part, parameter) in enumerate(self._places()):
            if run.step:
                arrays = {name: array[part].reshape(parameter.shape).copy() for name, array in run.state.items()}
                state[index] = {"step": run.step, **arrays}
        groups, count = [], 0
        for group in self.param_groups:
            indices = list(range(count, count + len(group["params"])))
            count += len(indices)
            groups.append({**group, "params": indices})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` gave of an optimizer with the same groups of the same parameters.

        Raises ValueError where they differ; nothing is changed then.
        """
        steps: dict[int, int] = {}
        own = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in saved["param_groups"]]
        if own != theirs:
            raise ValueError(f"{type(self).__name__}: the state has groups of {theirs} parameters, not of {own}")
        for index, parameter in enumerate(self._parameters()):
            values = dict(saved["state"].get(index, {}))
            step = values.pop("step", 0)
            if set(values) not in (set(), set(self.state_names)) or (step and self.needs_state and not values):
                names = ", ".join(self.state_names)
                raise ValueError(f"{type(self).__name__}: parameter {index} has {', '.join(values)}, not {names}")
            for name, value in values.items():
                if np.shape(value) != parameter.shape:
                    raise ValueError(
                        f"{type(self).__name__}: {name} of parameter {index} has shape {np.shape(value)}, "
                        f"not {parameter.shape}"
                    )
            steps[index] = int(step)
        for group, options in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in options.items() if name != "params"})
        self._cut_into_runs(steps)
        for index, (run, part, _) in enumerate(self._places()):
            values = dict(saved["state"].get(index, {}))
            run.step = int(values.pop("step", 0))
            for name, value in values.items():
                run.state.setdefault(name, run.zeros())[part] = np.reshape(value, -1)

    def _places(self) -> Iterator[tuple[Run, slice, Parameter]]:
        """Each parameter, in order, with the run it lies in and its part of the run's flat arrays."""
        for runs in self._runs:
            for run in runs:
                start = 0
                for parameter in run.parameters:
                    yield run, slice(start, start + parameter.size), parameter
                    start += parameter.size


def _runs_of(parameters: list[Parameter], steps: dict[int, int]) -> list[Run]:
    """The parameters, in their order, cut where one does not follow the one before in memory, or in its steps."""
    runs: list[list[Parameter]] = []
    for parameter in parameters:
        last = runs[-1][-1] if runs else None
        if last is not None and steps[id(last)] == steps[id(parameter)] and _follows(last, parameter):
            runs[-1].append(parameter)
        else:
            runs.append([parameter])
    return [Run(run) for run in runs]


def _follows(first: Parameter, second: Parameter) -> bool:
    if first.grad is None or second.grad is None or first.requires_grad != second.requires_grad:
        return False
    pairs = ((first.data, second.data), (first.grad, second.grad))
    return all(
        a.base is not None and a.base is b.base and _address(a) + a.nbytes == _address(b) and a.flags.c_contiguous
        for a, b in pairs
    )


def _address(array: Array | None) -> int:
    assert array is not None
    return int(array.__array_interface__["data"][0])
