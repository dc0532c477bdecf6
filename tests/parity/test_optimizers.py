"""Optimizers, clipping and schedules against torch.optim: the same values after the same gradients."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from handgrad import nn, optim
from handgrad.checking import relative_error
from handgrad.models.arena import Arena
from handgrad.nn import Parameter
from handgrad.system.arrays import Array

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-6}
STEPS = 20
# Two groups; the first has a parameter that adam_update needs more than one block for, and the empty shape.
SHAPES = [[(3, 5), (130, 131), ()], [(2, 3, 4), (7,)]]

# Options of the optimizer, then those in which the second group differs.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}, {"lr": 0.03}),
    "sgd, decay": ("SGD", {"lr": 0.1, "weight_decay": 0.2}, {"weight_decay": 0.0}),
    "sgd, momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.5}),
    "sgd, dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}, {"dampening": 0.0}),
    "sgd, nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, {"nesterov": False}),
    "sgd, nesterov, decay": (
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2},
        {"lr": 0.01, "weight_decay": 0.05},
    ),
    "adam": ("Adam", {"lr": 0.01}, {"lr": 0.002, "betas": (0.8, 0.95)}),
    "adam, decay": ("Adam", {"lr": 0.01, "weight_decay": 0.3}, {"weight_decay": 0.0, "eps": 1e-3}),
    "adamw": ("AdamW", {"lr": 0.01}, {"lr": 0.002, "weight_decay": 0.3}),
    "rmsprop": ("RMSprop", {"lr": 0.01}, {"lr": 0.002, "alpha": 0.9}),
    "rmsprop, momentum, decay": ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.5}),
    "rmsprop, centered": ("RMSprop", {"lr": 0.01, "centered": True}, {"eps": 1e-4}),
    "adamw, decay": ("AdamW", {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.5}, {"weight_decay": 0.0}),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("in_arena", [False, True], ids=["apart", "in one array"])
@pytest.mark.parametrize("name", CASES)
def test_optimizer(name: str, in_arena: bool, dtype: type[np.floating[Any]]) -> None:
    """20 steps of random gradients, some of them missing, with a learning rate that changes every step.

    A missing gradient is None for a parameter with its own memory, and the parameter does not move. In a shared array,
    a missing gradient is zero, and momentum and decay continue.
    """
    kind, options, differing = CASES[name]
    ours, theirs = _twins(SHAPES, dtype, in_arena)
    make_groups = [{}, differing]
    our_optimizer = getattr(optim, kind)(_groups(ours, make_groups), **options)
    their_optimizer = getattr(torch.optim, kind)(_groups(theirs, make_groups), **options)
    first_lrs = [group["lr"] for group in our_optimizer.param_groups]
    assert first_lrs == [group["lr"] for group in their_optimizer.param_groups]

    rng = np.random.default_rng(8)
    for step in range(STEPS):
        for optimizer in (our_optimizer, their_optimizer):
            for group, lr in zip(optimizer.param_groups, first_lrs, strict=True):
                group["lr"] = lr * (1 - step / (STEPS + 5))
        for index, (parameter, tensor) in enumerate(_pairs(ours, theirs)):
            gradient = np.asarray(rng.standard_normal(parameter.shape), dtype)
            is_missing = step < 3 if index == 1 else (step + index) % 4 == 3
            parameter.grad = None if is_missing else gradient
            if is_missing and in_arena:
                gradient = np.zeros_like(gradient)
            tensor.grad = None if is_missing and not in_arena else torch.tensor(gradient)
        our_optimizer.step()
        their_optimizer.step()
        # All values in one: a number that momentum moved close to zero keeps the rounding error of its larger values.
        our_values = np.concatenate([parameter.data.ravel() for parameter, _ in _pairs(ours, theirs)])
        their_values = np.concatenate([tensor.detach().numpy().ravel() for _, tensor in _pairs(ours, theirs)])
        assert relative_error(our_values, their_values) <= TOLERANCE[dtype]
        assert our_values.dtype == dtype
    for parameter, tensor in _pairs(ours, theirs):
        if tensor.grad is not None:
            np.testing.assert_array_equal(parameter.grad, tensor.grad)  # a step leaves the gradients as they are


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_defaults_are_those_of_torch(kind: str) -> None:
    ours, theirs = _twins(SHAPES, np.float64, in_arena=False)
    theirs_group = getattr(torch.optim, kind)(theirs[0]).param_groups[0]
    for option, value in getattr(optim, kind)(ours[0]).param_groups[0].items():
        if option == "cautious":
            assert value is False  # torch's has none
        elif option != "params":
            assert value == theirs_group[option]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("in_arena", [False, True], ids=["apart", "in one array"])
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 50.0, 1e6, math.inf])
def test_clip_grad_norm(max_norm: float, in_arena: bool, dtype: type[np.floating[Any]]) -> None:
    """Limits below the norm, and above it: then the gradients stay as they are to the last bit."""
    ours, theirs = _twins(SHAPES, dtype, in_arena)
    rng = np.random.default_rng(9)
    for index, (parameter, tensor) in enumerate(_pairs(ours, theirs)):
        if index != 3:  # has no gradient, or in a shared array zeros
            parameter.grad = np.asarray(rng.standard_normal(parameter.shape), dtype)
            tensor.grad = torch.tensor(parameter.grad)
    before = [tensor.grad.clone() if tensor.grad is not None else None for _, tensor in _pairs(ours, theirs)]
    norm = optim.clip_grad_norm((p for group in ours for p in group), max_norm)
    expected = torch.nn.utils.clip_grad_norm_([t for group in theirs for t in group], max_norm).item()
    assert norm == pytest.approx(expected, rel=TOLERANCE[dtype])
    assert 100 < norm < 200
    for (parameter, tensor), unclipped in zip(_pairs(ours, theirs), before, strict=True):
        if tensor.grad is None:
            assert parameter.grad is None or not parameter.grad.any()
            continue
        assert parameter.grad is not None
        # The floor of relative_error would hide errors of gradients clipped to 1e-3: both are scaled up first.
        scale = max(1.0, norm / max_norm)
        assert relative_error(parameter.grad * scale, tensor.grad.numpy() * scale) <= TOLERANCE[dtype]
        if max_norm > norm:
            assert unclipped is not None
            np.testing.assert_array_equal(parameter.grad, unclipped)


def test_clip_grad_norm_at_the_limit() -> None:
    """torch divides by norm + 1e-6 even if the norm equals the limit; we leave such gradients alone."""
    parameter, tensor = Parameter(np.zeros(2)), torch.zeros(2, dtype=torch.float64, requires_grad=True)
    parameter.grad, tensor.grad = np.array([3.0, 4.0]), torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert optim.clip_grad_norm([parameter], 5.0) == torch.nn.utils.clip_grad_norm_([tensor], 5.0).item() == 5.0
    np.testing.assert_array_equal(parameter.grad, [3.0, 4.0])
    assert relative_error(parameter.grad, tensor.grad.numpy()) < 1e-6


@pytest.mark.parametrize(("step_size", "gamma"), [(1, 0.9), (7, 0.1), (30, 0.5)])
def test_step_decay(step_size: int, gamma: float) -> None:
    schedule = optim.schedules.step_decay(0.3, step_size, gamma)
    expected = _rates(0.3, 100, torch.optim.lr_scheduler.StepLR, step_size=step_size, gamma=gamma)
    assert [schedule(step) for step in range(100)] == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(("max_steps", "min_lr"), [(1, 0.0), (10, 0.03), (99, 0.0)])
def test_cosine(max_steps: int, min_lr: float) -> None:
    """Up to max_steps: after that torch climbs again, and ours stays at min_lr."""
    schedule = optim.schedules.cosine(0.3, min_lr, max_steps)
    expected = _rates(0.3, max_steps + 1, torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max_steps, eta_min=min_lr)
    assert [schedule(step) for step in range(max_steps + 1)] == pytest.approx(expected, rel=0, abs=1e-12)
    assert schedule(max_steps + 5) == pytest.approx(min_lr, abs=1e-12)


def _rates(lr: float, steps: int, scheduler_type: Any, **options: Any) -> list[float]:
    """The learning rates of a torch scheduler, one for each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = scheduler_type(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def _twins(
    shapes: list[list[tuple[int, ...]]], dtype: npt.DTypeLike, in_arena: bool
) -> tuple[list[list[Parameter]], list[list[Tensor]]]:
    """Groups of parameters, ours and torch's, with the same values."""
    rng = np.random.default_rng(10)
    values: list[list[Array]] = [[np.asarray(rng.standard_normal(shape), dtype) for shape in group] for group in shapes]
    ours = [[Parameter(value) for value in group] for group in values]
    if in_arena:
        Arena([parameter for group in ours for parameter in group])
    return ours, [[torch.tensor(value, requires_grad=True) for value in group] for group in values]


def _groups(parameters: list[list[Any]], options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"params": group, **own} for group, own in zip(parameters, options, strict=True)]


def _pairs(ours: list[list[Parameter]], theirs: list[list[Tensor]]) -> Iterator[tuple[Parameter, Tensor]]:
    for our_group, their_group in zip(ours, theirs, strict=True):
        yield from zip(our_group, their_group, strict=True)


SCHEDULERS: dict[str, dict[str, Any]] = {
    "LambdaLR": {"lr_lambda": lambda step: 0.9**step},
    "StepLR": {"step_size": 3, "gamma": 0.5},
    "MultiStepLR": {"milestones": [2, 7], "gamma": 0.1},
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {"start_factor": 0.2, "total_iters": 6},
    "CosineAnnealingLR": {"T_max": 8, "eta_min": 0.001},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_set_the_same_rates(name: str) -> None:
    def steps(library: Any, make: Any) -> Iterator[list[float]]:
        optimizer = library.SGD([{"params": [make()]}, {"params": [make()], "lr": 0.3}], lr=0.1)
        scheduler = getattr(library.lr_scheduler, name)(optimizer, **SCHEDULERS[name])
        for _ in range(12):
            yield scheduler.get_last_lr()
            optimizer.step()
            scheduler.step()
            assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]

    ours = steps(optim, lambda: Parameter(np.zeros(2)))
    theirs = steps(torch.optim, lambda: torch.nn.Parameter(torch.zeros(2)))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    optimizer = optim.SGD([Parameter(np.zeros(2))], lr=0.1)
    scheduler = getattr(optim.lr_scheduler, name)(optimizer, **SCHEDULERS[name])
    for _ in range(4):
        scheduler.step()
    other = optim.SGD([Parameter(np.zeros(2))], lr=5.0)
    resumed = getattr(optim.lr_scheduler, name)(other, **SCHEDULERS[name])
    resumed.load_state_dict(scheduler.state_dict())
    assert resumed.get_last_lr() == scheduler.get_last_lr()


def test_groups_that_are_added_named_parameters_and_gradients_of_zeros() -> None:
    def final(library: Any, net: Any, more: Any) -> list[Any]:
        named = net.named_parameters() if library is optim else net.parameters()
        optimizer = library.SGD(named, lr=0.1, momentum=0.9)
        optimizer.add_param_group({"params": [more], "lr": 0.01})
        rng = np.random.default_rng(0)
        for step in range(4):
            for parameter in (*net.parameters(), more):
                gradient = rng.standard_normal(tuple(parameter.shape))
                parameter.grad = torch.tensor(gradient) if library is torch.optim else gradient
            if step == 2:
                optimizer.zero_grad(set_to_none=False)
                assert all((parameter.grad == 0).all() for parameter in net.parameters())
            optimizer.step()
        optimizer.zero_grad()
        assert more.grad is None
        return [parameter.detach().numpy() for parameter in (*net.parameters(), more)]

    net, their_net = nn.Linear(2, 2, dtype=np.float64), torch.nn.Linear(2, 2).double()
    their_net.weight.data, their_net.bias.data = (torch.tensor(p.data.copy()) for p in net.parameters())
    found = final(optim, net, Parameter(np.ones(3)))
    expected = final(torch.optim, their_net, torch.nn.Parameter(torch.ones(3).double()))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    optimizer = optim.SGD(net.parameters())
    with pytest.raises(ValueError, match="a parameter is in two groups"):
        optimizer.add_param_group({"params": net.weight})
    with pytest.raises(ValueError, match="unknown option 'speed'"):
        optimizer.add_param_group({"params": [], "speed": 1})
    with pytest.raises(TypeError, match="optimizes Parameters and Tensors, not str"):
        optim.SGD(["weight"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="StepLR: takes an optimizer, not Linear"):
        optim.lr_scheduler.StepLR(net, 3)  # type: ignore[arg-type]
