"""Parameters frozen and thawed between steps: each moves as it would by itself, and no state is copied."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handgrad import nn, ops
from handgrad.backend import function_for
from handgrad.models.arena import Arena
from handgrad.optim import SGD, Adam, AdamW, Muon, Optimizer, RMSprop
from handgrad.system.arrays import Array
from handgrad.system.threads import Team

SHAPES = [(3, 5), (7,), (40, 17), (1,), (2, 3), (9, 4), (5,)]
STEPS = 30
Values = dict[str, Any]
CASES: dict[str, tuple[Callable[..., Optimizer], Values, Values]] = {
    "sgd": (SGD, {"lr": 0.1}, {"weight_decay": 0.2}),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.1}),
    "dampening": (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}, {"dampening": 0.1}),
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}),
    "rmsprop": (RMSprop, {"lr": 0.01, "momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.3}),
    "adam": (Adam, {"lr": 0.01, "betas": (0.8, 0.9)}, {"weight_decay": 0.3}),
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.3}, {"betas": (0.7, 0.95)}),
    "cautious": (AdamW, {"lr": 0.01, "weight_decay": 0.3, "cautious": True}, {"cautious": False}),
    "muon": (Muon, {"lr": 0.01}, {"momentum": 0.5, "nesterov": False, "weight_decay": 0.3, "cautious": True}),
}


def sgd_step(data: Array, grad: Array, state: Values, options: Values, scale: float) -> None:
    direction = grad if scale == 1 else grad * scale
    if options["weight_decay"]:
        direction = direction + options["weight_decay"] * data
    if options["momentum"]:
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = direction.copy()
        else:
            kept = options["momentum"] * state["momentum_buffer"]
            state["momentum_buffer"] = kept + (1 - options["dampening"]) * direction
        buffer = state["momentum_buffer"]
        direction = direction + options["momentum"] * buffer if options["nesterov"] else buffer
    data -= options["lr"] * direction


def adam_step(data: Array, grad: Array, state: Values, options: Values, scale: float, decoupled: bool) -> None:
    state.setdefault("exp_avg", np.zeros_like(data))
    state.setdefault("exp_avg_sq", np.zeros_like(data))
    arrays = [array.reshape(-1) for array in (data, grad, state["exp_avg"], state["exp_avg_sq"])]
    numbers = {name: options[name] for name in ("lr", "eps", "weight_decay")}
    beta1, beta2 = options["betas"]
    update = function_for(ops.adam_update, *arrays[:2])
    numbers |= {"beta1": beta1, "beta2": beta2, "grad_scale": scale, "cautious": options.get("cautious", False)}
    update(*arrays, step=state["step"], decoupled=decoupled, **numbers)


def muon_step(data: Array, grad: Array, state: Values, options: Values, scale: float) -> None:
    momentum, lr = options["momentum"], options["lr"]
    new = grad * ((1 - momentum) * scale)
    mean = state["momentum_buffer"] = state.get("momentum_buffer", np.zeros_like(data)) * momentum + new
    step = function_for(ops.newton_schulz, grad)(new + momentum * mean if options["nesterov"] else mean)
    decay = lr * options["weight_decay"]
    if options["cautious"]:
        data -= decay * (data * (step * data >= 0))
    else:
        data *= 1 - decay
    data -= lr * np.sqrt(max(1, data.shape[1] / data.shape[0])).item() * step


def rmsprop_step(data: Array, grad: Array, state: Values, options: Values, scale: float) -> None:
    gradient = (grad if scale == 1 else grad * scale) + options["weight_decay"] * data
    state["square_avg"] = 0.99 * state.get("square_avg", np.zeros_like(data)) + (1 - 0.99) * gradient**2
    direction = gradient / (np.sqrt(state["square_avg"]) + options["eps"])
    state["momentum_buffer"] = options["momentum"] * state.get("momentum_buffer", np.zeros_like(data)) + direction
    data -= options["lr"] * state["momentum_buffer"]


class OneByOne:
    """The optimizers' updates, one parameter at a time, each with its own arrays and step count."""

    def __init__(self, values: list[Array], groups: list[Values], kind: Callable[..., Optimizer]) -> None:
        self.values, self.groups, self.kind = values, groups, kind
        self.state: dict[int, Values] = {}

    def step(self, grads: list[Array], learns: list[bool], scale: float) -> None:
        options = [group for group in self.groups for _ in group["params"]]
        for index, grad in enumerate(grads):
            if learns[index]:
                state = self.state.setdefault(index, {"step": 0})
                state["step"] += 1
                if self.kind is SGD:
                    sgd_step(self.values[index], grad, state, options[index], scale)
                elif self.kind is Muon:
                    muon_step(self.values[index], grad, state, options[index], scale)
                elif self.kind is RMSprop:
                    rmsprop_step(self.values[index], grad, state, options[index], scale)
                else:
                    adam_step(self.values[index], grad, state, options[index], scale, self.kind is AdamW)


def shapes_of(case: str) -> list[tuple[int, ...]]:
    """Muon moves matrices alone."""
    return [(*shape, 1)[:2] for shape in SHAPES] if case == "muon" else SHAPES


def made(case: str, dtype: Any) -> tuple[list[nn.Parameter], Optimizer, OneByOne]:
    """Parameters in an arena, their optimizer in two groups, and the same parameters updated one by one."""
    make, options, differing = CASES[case]
    rng = np.random.default_rng(3)
    parameters = [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in shapes_of(case)]
    values = [p.data.copy() for p in parameters]
    Arena(parameters)
    optimizer = make([{"params": parameters[:4]}, {"params": parameters[4:], **differing}], **options)
    return parameters, optimizer, OneByOne(values, optimizer.param_groups, make)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_frozen_back_and_forth_each_moves_as_it_would_by_itself(case: str, dtype: Any, threads: int) -> None:
    parameters, optimizer, apart = made(case, dtype)
    rng = np.random.default_rng(4)
    cuts = set()
    for step in range(STEPS):
        # A random set of parameters moves; in every seventh step all do.
        learns = [bool(one) for one in (rng.random(len(SHAPES)) < 0.6) | (step % 7 == 5)]
        grads = [rng.standard_normal(shape).astype(dtype) for shape in shapes_of(case)]
        for p, grad, one in zip(parameters, grads, learns, strict=True):
            p.grad, p.requires_grad = grad, one
        scale = 0.37 if step % 3 == 1 else 1.0
        cuts.add(str([block.ready() for blocks in optimizer._blocks for block in blocks]))
        with Team(threads) as team:
            optimizer.step(grad_scale=scale, team=team)
        apart.step(grads, learns, scale)
        for index, (p, value) in enumerate(zip(parameters, apart.values, strict=True)):
            np.testing.assert_array_equal(p.data, value, err_msg=f"parameter {index} after step {step}")
    assert len(cuts) > STEPS / 2  # enough different sets of frozen parameters
    state = optimizer.state_dict()["state"]
    assert state.keys() == apart.state.keys()
    for index, expected in apart.state.items():
        assert list(state[index]) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(state[index][name], value)


@pytest.mark.parametrize("case", CASES)
def test_freezing_copies_no_state(case: str) -> None:
    parameters, optimizer, _ = made(case, np.float64)

    def step() -> list[tuple[str, int]]:
        for p in parameters:
            p.grad = np.ones(p.shape)
        optimizer.step()
        blocks = [block for blocks in optimizer._blocks for block in blocks]
        return [(name, id(array)) for block in blocks for name, array in block.state.items()]

    parameters[2].requires_grad = False  # before its first step
    before = step()
    assert len(before) == {"sgd": 0, "adam": 4, "adamw": 4, "cautious": 4, "rmsprop": 4}.get(case, 2)
    for index in (0, 2, 5, 0, 3, 2):
        parameters[index].requires_grad = not parameters[index].requires_grad
        assert step() == before


def test_parameters_that_made_no_step_have_no_state() -> None:
    parameters, optimizer, _ = made("adam", np.float32)
    for p in (parameters[0], parameters[2]):
        p.requires_grad = False
    assert optimizer.state_dict()["state"] == {}
    optimizer.step()
    state = optimizer.state_dict()["state"]
    assert list(state) == [1, 3, 4, 5, 6]
    assert all(list(values) == ["step", "exp_avg", "exp_avg_sq"] for values in state.values())
    # The same holds after loading: these two then begin with their first step.
    _, other, _ = made("adam", np.float32)
    other.load_state_dict(optimizer.state_dict())
    assert list(other.state_dict()["state"]) == [1, 3, 4, 5, 6]
    other.step()
    assert [values["step"] for values in other.state_dict()["state"].values()] == [1, 2, 1, 2, 2, 2, 2]


def test_a_momentum_that_begins_later_begins_with_the_gradient() -> None:
    """Even for a parameter that was frozen while the others began; dampening would reveal a buffer of zeros."""
    a, b = nn.Parameter(np.zeros(1)), nn.Parameter(np.zeros(1))
    Arena([a, b])
    optimizer = SGD([a, b], lr=1.0, dampening=0.5)

    def step() -> None:
        a.grad, b.grad = np.ones(1), np.full(1, 2.0)
        optimizer.step()

    step()
    assert (a.data.item(), b.data.item()) == (-1, -2)
    assert optimizer.state_dict()["state"] == {0: {"step": 1}, 1: {"step": 1}}
    optimizer.param_groups[0]["momentum"] = 0.5
    b.requires_grad = False
    step()  # a's buffer is 1
    assert a.data.item() == -2
    assert list(optimizer.state_dict()["state"][0]) == ["step", "momentum_buffer"]
    assert optimizer.state_dict()["state"][1] == {"step": 1}
    a.requires_grad, b.requires_grad = False, True
    step()  # both have made two steps; b's buffer is 2
    assert (a.data.item(), b.data.item()) == (-2, -4)
    optimizer.load_state_dict(optimizer.state_dict())
    a.requires_grad = True
    step()  # a's buffer is 1/2 + 1/2, b's 1 + 1
    assert (a.data.item(), b.data.item()) == (-3, -6)
    optimizer.param_groups[0]["momentum"] = 0.0
    step()
    assert (a.data.item(), b.data.item()) == (-4, -8)
    assert optimizer.state_dict()["state"][1]["momentum_buffer"].item() == 2


def test_of_two_that_made_equally_many_steps_only_one_may_have_a_momentum() -> None:
    a, b = nn.Parameter(np.zeros(1)), nn.Parameter(np.zeros(1))
    Arena([a, b])
    optimizer = SGD([a, b], lr=1.0, momentum=0.5, dampening=0.5)
    state = {"state": {0: {"step": 1, "momentum_buffer": np.full(1, 4.0)}, 1: {"step": 1}}}
    optimizer.load_state_dict({**state, "param_groups": optimizer.state_dict()["param_groups"]})
    a.grad, b.grad = np.ones(1), np.ones(1)
    optimizer.step()
    assert (a.data.item(), b.data.item()) == (-(2 + 0.5), -1.0)
