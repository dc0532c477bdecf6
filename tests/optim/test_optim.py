"""What optimizers share: groups, blocks of memory, states; schedules at their limits; clipping of huge gradients."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.models import GPT, GPTConfig
from handgrad.models.arena import Arena
from handgrad.optim import SGD, Adam, AdamW, Optimizer, clip_grad_norm, schedules
from handgrad.optim.common_rate import CommonRate
from handgrad.optim.optimizer import FlatBlock, Piece
from handgrad.system.arrays import Array

OPTIMIZERS: list[Callable[..., Optimizer]] = [SGD, Adam, AdamW]
CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12)


def parameter(*values: float, grad: tuple[float, ...] | None = None, dtype: Any = np.float64) -> nn.Parameter:
    made = nn.Parameter(np.array(values, dtype))
    if grad is not None:
        made.grad = np.array(grad, dtype)
    return made


# Groups


def test_options_of_a_group_go_before_the_defaults() -> None:
    a, b, c = (parameter(1.0, grad=(1.0,)) for _ in range(3))
    optimizer = SGD([{"params": [a]}, {"params": iter([b, c]), "lr": 0.5, "weight_decay": 0.1}], lr=0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.1]
    assert [group["params"] for group in optimizer.param_groups] == [[a], [b, c]]
    optimizer.step()
    assert [p.data.item() for p in (a, b, c)] == [0.75, 1 - 0.5 * 1.1, 1 - 0.5 * 1.1]


def test_a_learning_rate_written_to_a_group_counts_from_the_next_step() -> None:
    p = parameter(1.0, grad=(1.0,))
    optimizer = SGD([p], lr=0.25)
    optimizer.param_groups[0]["lr"] = 0.125
    optimizer.step()
    assert p.data.item() == 0.875


def test_defaults_are_those_of_pytorch_but_for_sgd_which_has_none_there() -> None:
    p = parameter(1.0)
    shared = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "params": [p]}
    assert Adam([p]).param_groups == [{**shared, "weight_decay": 0.0}]
    assert AdamW([p]).param_groups == [{**shared, "weight_decay": 0.01, "cautious": False}]
    sgd = {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "params": [p]}
    assert SGD([p]).param_groups == [sgd]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_parameters_that_cannot_be_are_refused(make: Callable[..., Optimizer]) -> None:
    a, b, name = parameter(1.0), parameter(1.0), make.__name__
    for params, says in (
        ([], f"{name}: no parameters to optimize"),
        ([{"params": []}], f"{name}: no parameters to optimize"),
        (iter(()), f"{name}: no parameters to optimize"),
        ([a, b, a], f"{name}: a parameter is in one group twice"),
        ([{"params": [a]}, {"params": [b, a]}], f"{name}: a parameter is in two groups"),
        ([{"params": [a], "learning_rate": 1.0}], f"{name}: unknown option 'learning_rate'; supported are lr, "),
        ([{"params": [a], "lr": -1.0}], f"{name}: lr must be at least 0, not -1.0"),
        ([{"params": [a]}, {"params": [b], "weight_decay": -1}], f"{name}: weight_decay must be at least 0, not -1"),
    ):
        with pytest.raises(ValueError, match=f"^{says}"):
            make(params)


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (SGD, {"lr": -0.1}, "SGD: lr must be at least 0, not -0.1"),
        (SGD, {"lr": math.nan}, "SGD: lr must be at least 0, not nan"),
        (SGD, {"momentum": -0.1}, "SGD: momentum must be at least 0, not -0.1"),
        (SGD, {"nesterov": True}, "SGD: nesterov needs a momentum above 0 and no dampening"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "SGD: nesterov needs a momentum above 0 and no"),
        (Adam, {"betas": (1.0, 0.9)}, r"Adam: betas must lie in \[0, 1\), not \(1.0, 0.9\)"),
        (Adam, {"betas": (0.9, -0.1)}, r"Adam: betas must lie in \[0, 1\), not \(0.9, -0.1\)"),
        (AdamW, {"betas": (0.9, math.nan)}, r"AdamW: betas must lie in \[0, 1\), not \(0.9, nan\)"),
        (AdamW, {"eps": -1e-8}, "AdamW: eps must be at least 0, not -1e-08"),
        (AdamW, {"weight_decay": -0.1}, "AdamW: weight_decay must be at least 0, not -0.1"),
    ],
)
def test_options_that_cannot_be_are_refused(make: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make([parameter(1.0)], **options)


# Steps


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_parameters_without_a_gradient_stay(make: Callable[..., Optimizer]) -> None:
    moved, still = parameter(1.0, 2.0, grad=(1.0, -1.0)), parameter(1.0, 2.0)
    frozen = parameter(1.0, grad=(1.0,))
    frozen.requires_grad = False
    optimizer = make([moved, still, frozen], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert moved.data[0] < 1
    assert still.data.tolist() == [1.0, 2.0]
    assert frozen.data.tolist() == [1.0]
    optimizer.zero_grad()
    assert moved.grad is None
    before = moved.data.copy()
    optimizer.step()
    np.testing.assert_array_equal(moved.data, before)


def test_the_first_steps_by_hand() -> None:
    # While g stays the same, Adam's steps are lr · g/|g|, whatever its size: both moments are corrected for their start
    # at 0. AdamW first shrinks x by lr · weight_decay.
    shrunk = 1 - 0.1 * 0.5
    for make, decay, once in ((Adam, 0.0, [0.9, 2.1]), (AdamW, 0.5, [shrunk - 0.1, 2 * shrunk + 0.1])):
        p = parameter(1.0, 2.0, grad=(4.0, -0.01))
        optimizer = make([p], lr=0.1, eps=0.0, weight_decay=decay)
        optimizer.step()
        np.testing.assert_allclose(p.data, once, rtol=1e-12)
        optimizer.step()
        twice = [once[0] * (1 - 0.1 * decay) - 0.1, once[1] * (1 - 0.1 * decay) + 0.1]
        np.testing.assert_allclose(p.data, twice, rtol=1e-12)
    p = parameter(1.0)
    sgd = SGD([p], lr=0.1, momentum=0.5, nesterov=True)
    for expected in (1 - 0.1 * 3, 0.7 - 0.1 * 3.5):  # b = 2, then 3; d = g + b / 2
        p.grad = np.array([2.0])
        sgd.step()
        np.testing.assert_allclose(p.data, [expected], rtol=1e-12)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_step_leaves_the_gradient_as_it_is(make: Callable[..., Optimizer]) -> None:
    p = parameter(1.0, 2.0, grad=(3.0, -4.0))
    optimizer = make([p], lr=0.1, weight_decay=0.5)
    optimizer.step()
    optimizer.step()
    assert p.grad is not None
    assert p.grad.tolist() == [3.0, -4.0]


# Blocks of memory


def pieces_of(block: FlatBlock) -> list[Piece]:
    return [block.piece(indices) for indices in block.ready()]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_each_group_of_a_gpt_is_one_block_and_one_pass(tied: bool, bias: bool) -> None:
    model = GPT(GPTConfig(11, 8, 2, 2, 12, tie_weights=tied, bias=bias))
    optimizer = AdamW(model.decay_groups(0.1))
    assert [len(blocks) for blocks in optimizer._blocks] == [1, 1]
    assert [len(blocks[0].ready()) for blocks in optimizer._blocks] == [1, 1]
    decayed, others = (pieces_of(blocks[0])[0] for blocks in optimizer._blocks)
    assert decayed.data.size + others.data.size == model.n_parameters
    numbers = np.arange(model.n_parameters)
    model.arena.data[...], model.arena.grad[...] = numbers, -numbers
    np.testing.assert_array_equal(np.concatenate([decayed.data, others.data]), numbers)
    np.testing.assert_array_equal(np.concatenate([decayed.grad, others.grad]), -numbers)
    assert np.shares_memory(decayed.data, model.arena.data)
    assert decayed.data.size == sum(p.size for p in model.parameters() if p.ndim == 2)


def test_parameters_out_of_order_are_cut_into_blocks_that_hold_each_once() -> None:
    model = GPT(CONFIG)
    a, b, c, d, frozen, e, f = model.arena.parameters[:7]
    own = parameter(1.0, dtype=np.float32)
    frozen.requires_grad = False  # lies between d and e but must not move with them
    optimizer = SGD([a, b, d, frozen, e, f, c, own])

    def ids(*groups: list[nn.Parameter]) -> list[list[int]]:
        return [[id(p) for p in group] for group in groups]

    blocks = optimizer._blocks[0]
    assert ids(*(block.parameters for block in blocks)) == ids([a, b], [d, frozen, e, f], [c], [own])
    pieces = [piece for block in blocks for piece in pieces_of(block)]  # own has no gradient yet
    assert ids(*(piece.parameters for piece in pieces)) == ids([a, b], [d], [e, f], [c])


def test_a_block_gives_each_matrix_as_a_view_of_its_flat_arrays() -> None:
    """An optimizer that treats matrices as matrices needs this."""
    model = GPT(CONFIG)
    optimizer = Adam(model.decay_groups(0.0), betas=(0.0, 0.0))  # so that the first moment is the gradient
    rng = np.random.default_rng(0)
    model.arena.grad[...] = rng.standard_normal(model.n_parameters)
    optimizer.step()
    block = optimizer._blocks[0][0]
    (piece,) = pieces_of(block)
    matrices = [part for part in block.parts if part.role == "matrix"]
    assert len(matrices) == 4 * CONFIG.n_layer
    assert [part.role for part in piece.parts] == [part.role for part in block.parts]
    for part in matrices:
        moment, value = part.of(block.state["exp_avg"]), part.of(piece.data)
        assert moment.shape == value.shape == part.shape == part.parameter.shape
        np.testing.assert_array_equal(moment, part.parameter.grad)
        moment[...] = 7
        value[...] = -7
        assert (part.parameter.data == -7).all()
    for index, p in enumerate(block.parameters):
        assert (optimizer.state_dict()["state"][index]["exp_avg"] == 7).all() == (p.role == "matrix")
        assert (p.data == -7).all() == (p.role == "matrix")


def test_parameters_that_an_arena_moves_later_go_on_with_their_state() -> None:
    def made() -> list[nn.Parameter]:
        return [nn.Parameter(np.arange(1.0, size + 1)) for size in (3, 4, 2)]

    moved, still = made(), made()
    Arena(moved)
    optimizers = [SGD(parameters, lr=0.1, momentum=0.9) for parameters in (moved, still)]
    for step in range(4):
        if step == 2:
            Arena([moved[2], moved[0], moved[1]])  # another order than the optimizer's
        for p, q in zip(moved, still, strict=True):
            p.grad = q.grad = np.random.default_rng(step).standard_normal(p.shape)
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(moved, still, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_block_moves_as_its_parameters_would_one_by_one(make: Callable[..., Optimizer]) -> None:
    together, apart = GPT(CONFIG, seed=3), GPT(CONFIG, seed=3)
    values = {name: nn.Parameter(p.data) for name, p in apart.named_parameters()}
    one = make(together.decay_groups(0.1), lr=0.01)
    many = make(
        [
            {"params": [p for p in values.values() if p.ndim == 2], "weight_decay": 0.1},
            {"params": [p for p in values.values() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=0.01,
    )
    assert sum(len(blocks) for blocks in many._blocks) == len(values)
    rng = np.random.default_rng(0)
    for _ in range(3):
        for name, p in together.named_parameters():
            p.grad = values[name].grad = rng.standard_normal(p.shape).astype(np.float32)
        one.step()
        many.step()
    for name, p in together.named_parameters():
        np.testing.assert_array_equal(p.data, values[name].data, err_msg=name)
        assert not np.array_equal(p.data, dict(apart.named_parameters())[name].data), name


# States


def train(model: GPT, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        rng = np.random.default_rng(step)
        x, y = rng.integers(0, 11, (2, 4, 6))
        optimizer.zero_grad()
        model.loss(x, y)
        model.backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("make", "options"),
    [(SGD, {"momentum": 0.9}), (SGD, {}), (Adam, {}), (AdamW, {"betas": (0.8, 0.95)})],
    ids=["momentum", "sgd", "adam", "adamw"],
)
def test_a_loaded_state_goes_on_bit_for_bit(make: Any, options: dict[str, Any]) -> None:
    straight = GPT(CONFIG)
    train(straight, make(straight.decay_groups(0.1), lr=0.01, **options), range(6))

    begun = GPT(CONFIG)
    optimizer = make(begun.decay_groups(0.1), lr=0.01, **options)
    train(begun, optimizer, range(3))
    weights, state = begun.state_dict(), optimizer.state_dict()
    train(begun, optimizer, range(3, 5))  # what was saved does not move with the optimizer

    resumed = GPT(CONFIG, seed=5)
    other = make(resumed.decay_groups(0.5), lr=0.7)
    resumed.load_state_dict(weights)
    other.load_state_dict(state)
    for group, expected in zip(other.param_groups, optimizer.param_groups, strict=True):
        assert {k: v for k, v in group.items() if k != "params"} == {k: v for k, v in expected.items() if k != "params"}
    train(resumed, other, range(3, 6))
    np.testing.assert_array_equal(resumed.arena.data, straight.arena.data)


def test_a_state_has_pytorchs_form() -> None:
    a, b = parameter(1.0, 2.0, grad=(1.0, 3.0)), parameter(5.0)
    optimizer = Adam([{"params": [a]}, {"params": [b], "lr": 0.5}])
    assert optimizer.state_dict()["state"] == {}
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state["state"]) == [0]  # b had no gradient
    assert state["state"][0]["step"] == 1
    np.testing.assert_allclose(state["state"][0]["exp_avg"], [0.1, 0.3])
    np.testing.assert_allclose(state["state"][0]["exp_avg_sq"], [0.001, 0.009])
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert [group["lr"] for group in state["param_groups"]] == [1e-3, 0.5]


def test_states_are_cut_out_of_a_block_in_the_shapes_of_the_parameters() -> None:
    model = GPT(CONFIG)
    optimizer = Adam(model.decay_groups(0.0), betas=(0.0, 0.0))  # so that the moments are g and g²
    model.arena.grad[...] = np.arange(model.n_parameters)
    optimizer.step()
    for index, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        values = optimizer.state_dict()["state"][index]
        assert values["exp_avg"].shape == p.shape
        np.testing.assert_array_equal(values["exp_avg"], p.grad)
        np.testing.assert_array_equal(values["exp_avg_sq"], np.square(p.grad))


def test_a_state_is_copied_out_and_in() -> None:
    p = parameter(1.0, grad=(1.0,))
    optimizer = Adam([p], betas=(0.5, 0.5))
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"][...] = 100
    state["param_groups"][0]["lr"] = 100
    assert optimizer.state_dict()["state"][0]["exp_avg"].item() == 0.5
    assert optimizer.param_groups[0]["lr"] == 1e-3
    optimizer.load_state_dict(state)
    assert optimizer.state_dict()["state"][0]["exp_avg"].item() == 100
    state["state"][0]["exp_avg"][...] = -1
    assert optimizer.state_dict()["state"][0]["exp_avg"].item() == 100
    assert optimizer.param_groups[0]["params"] == [p]


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    a, b = parameter(1.0, 2.0, grad=(1.0, 1.0)), parameter(3.0, grad=(1.0,))
    optimizer = AdamW([a, b])
    optimizer.step()
    before = optimizer.state_dict()

    def with_moment(value: Array) -> dict[str, Any]:
        state = optimizer.state_dict()
        state["state"][0]["exp_avg"] = np.full(2, 9.0)  # fits, but must not be loaded either
        state["state"][0]["step"] = 50
        state["state"][1]["exp_avg_sq"] = value
        state["param_groups"][0]["lr"] = 9.0
        return state

    regrouped = optimizer.state_dict()
    regrouped["param_groups"][0]["params"] = [0]
    two_groups = optimizer.state_dict()
    two_groups["param_groups"] *= 2
    for state, says in (
        (with_moment(np.zeros(2)), r"AdamW: exp_avg_sq of parameter 1 has shape \(2,\), not \(1,\)"),
        (with_moment(np.zeros(())), r"AdamW: exp_avg_sq of parameter 1 has shape \(\), not \(1,\)"),
        (with_moment(np.zeros((1, 1))), r"AdamW: exp_avg_sq of parameter 1 has shape \(1, 1\), not \(1,\)"),
        (regrouped, r"AdamW: the state has groups of \[1\] parameters, not of \[2\]"),
        (two_groups, r"AdamW: the state has groups of \[2, 2\] parameters, not of \[2\]"),
    ):
        with pytest.raises(ValueError, match=f"^{says}$"):
            optimizer.load_state_dict(state)
        now = optimizer.state_dict()
        assert now["param_groups"] == before["param_groups"]
        for index, values in before["state"].items():
            assert now["state"][index]["step"] == values["step"] == 1
            np.testing.assert_array_equal(now["state"][index]["exp_avg"], values["exp_avg"])
            np.testing.assert_array_equal(now["state"][index]["exp_avg_sq"], values["exp_avg_sq"])


# Schedules


def test_warm_up_climbs_evenly_from_above_zero() -> None:
    for schedule in (
        schedules.constant(1.0, warmup_steps=4),
        schedules.cosine(1.0, 0.1, 20, warmup_steps=4),
        schedules.step_decay(1.0, 10, warmup_steps=4),
        schedules.trapezoid(1.0, 0.1, 20, warmup_steps=4, decay_fraction=1.0),
    ):
        np.testing.assert_allclose([schedule(step) for step in range(5)], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-12)


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    for schedule in (
        schedules.constant(0.3),
        schedules.cosine(0.3, 0.1, 10),
        schedules.step_decay(0.3, 5),
        schedules.trapezoid(0.3, 0.1, 10),
    ):
        assert schedule(0) == pytest.approx(0.3, rel=1e-12)


def test_cosine_ends_at_min_lr_and_stays_there() -> None:
    schedule = schedules.cosine(1.0, 0.2, max_steps=110, warmup_steps=10)
    assert schedule(10) == 1.0
    assert schedule(60) == pytest.approx(0.6)  # half-way
    assert schedule(35) == pytest.approx(0.2 + 0.4 * (1 + math.sqrt(0.5)))  # a quarter
    rates = [schedule(step) for step in range(10, 111)]
    assert all(before > after for before, after in itertools.pairwise(rates))
    for step in (110, 111, 10_000):
        assert schedule(step) == 0.2


def test_constant_and_step_decay() -> None:
    assert [schedules.constant(0.5)(step) for step in (0, 1, 10**6)] == [0.5] * 3
    schedule = schedules.step_decay(1.0, step_size=3, gamma=0.5)
    assert [schedule(step) for step in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    # Steps of the warm-up count too.
    warmed = schedules.step_decay(1.0, step_size=3, gamma=0.5, warmup_steps=2)
    assert [warmed(step) for step in range(2, 7)] == [1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("shape", ["linear", "sqrt"])
def test_trapezoid_by_its_formula(shape: Any) -> None:
    """Hägele et al. 2024: warm-up, the peak, then the rate over the last steps by 1 - s or 1 - √s."""
    schedule = schedules.trapezoid(1.0, 0.2, max_steps=100, warmup_steps=10, decay_fraction=0.3, decay_shape=shape)
    assert [schedule(step) for step in range(10, 71)] == [1.0] * 61
    for step in range(70, 101):
        s = (step - 70) / 30
        expected = 0.2 + 0.8 * (1 - (s if shape == "linear" else math.sqrt(s)))
        assert schedule(step) == pytest.approx(expected, rel=1e-12)
    assert schedule(100) == schedule(10_000) == pytest.approx(0.2, rel=1e-12)
    assert schedule(71) < 1


def test_a_trapezoid_falls_after_the_warm_up_at_the_earliest() -> None:
    schedule = schedules.trapezoid(1.0, 0.0, max_steps=50, warmup_steps=10, decay_fraction=1.0)
    assert max(schedule(step) for step in range(50)) == schedule(10) == 1.0
    assert schedule(30) == pytest.approx(0.5)
    assert schedules.trapezoid(1.0, 0.0, 5, warmup_steps=5)(5) == 1.0  # no step is left to fall in
    for wrong in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"trapezoid: decay_fraction must lie in \(0, 1\], not"):
            schedules.trapezoid(1.0, 0.0, 10, decay_fraction=wrong)
    with pytest.raises(ValueError, match="trapezoid: decay_shape must be 'linear' or 'sqrt', not 'cosine'"):
        schedules.trapezoid(1.0, 0.0, 10, decay_shape="cosine")  # type: ignore[arg-type]


def test_one_rate_serves_groups_that_differ() -> None:
    optimizer = SGD([{"params": [parameter(1.0)], "lr": 0.02}, {"params": [parameter(2.0)]}], lr=3e-3)
    rate = CommonRate(optimizer, 3e-3)
    for lr in (3e-3, 1.7e-3, 3e-3 / 7):
        rate.set(lr)
        assert optimizer.param_groups[1]["lr"] == lr  # to the bit
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr * 0.02 / 3e-3, rel=1e-12)


def test_schedules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="step_decay: step_size must be at least 1, not 0"):
        schedules.step_decay(1.0, 0)
    for make in (
        lambda: schedules.constant(1.0, -1),
        lambda: schedules.step_decay(1.0, 5, warmup_steps=-1),
        lambda: schedules.cosine(1.0, 0.1, 5, -1),
    ):
        with pytest.raises(ValueError, match="schedule: warmup_steps must be at least 0, not -1"):
            make()


# Clipping


def gradients_of(*values: tuple[float, ...], dtype: Any = np.float64) -> list[nn.Parameter]:
    return [parameter(*(0.0 for _ in value), grad=value, dtype=dtype) for value in values]


def test_clipping_returns_the_norm_before_and_scales_all_gradients_alike() -> None:
    parameters = [*gradients_of((3.0, 0.0), (4.0,), (12.0,)), parameter(1.0)]  # the last has no gradient
    assert clip_grad_norm(iter(parameters), 6.5) == 13.0
    assert parameters[3].grad is None
    clipped = np.concatenate([p.grad for p in parameters[:3]])
    np.testing.assert_allclose(clipped, [1.5, 0, 2, 6], rtol=1e-6)
    assert np.linalg.norm(clipped) <= 6.5


def test_a_norm_within_bounds_or_without_a_bound_changes_nothing() -> None:
    for bound in (5.0, 5.1, math.inf):
        parameters = gradients_of((3.0, 4.0))
        assert clip_grad_norm(parameters, bound) == 5.0
        assert parameters[0].grad.tolist() == [3.0, 4.0]
    assert clip_grad_norm([parameter(1.0)], 1.0) == 0.0
    zero = gradients_of((0.0,))
    assert clip_grad_norm(zero, 0.0) == 0.0
    assert zero[0].grad.tolist() == [0.0]


def test_clipping_a_gpt_writes_into_its_arena() -> None:
    model = GPT(CONFIG)
    model.arena.grad[...] = 1
    assert clip_grad_norm(model.parameters(), 1.0) == pytest.approx(math.sqrt(model.n_parameters), rel=1e-6)
    assert np.linalg.norm(model.arena.grad.astype(np.float64)) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("size", [1e19, 1e25, 3e38])
def test_huge_float32_gradients_have_a_finite_norm(size: float) -> None:
    # Their squares overflow in float32, from 1.8e19 on.
    parameters = gradients_of((size, -size), (size, size), dtype=np.float32)
    norm = clip_grad_norm(parameters, 1.0)
    assert norm == pytest.approx(2 * size, rel=1e-6)
    np.testing.assert_allclose(parameters[0].grad, [0.5, -0.5], rtol=1e-5)
    np.testing.assert_allclose(parameters[1].grad, [0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_scales_nothing(bad: float) -> None:
    for dtype in (np.float32, np.float64):
        parameters = gradients_of((3.0, bad), (4.0,), dtype=dtype)
        norm = clip_grad_norm(parameters, 1.0)
        assert not math.isfinite(norm)
        assert math.isnan(norm) == math.isnan(bad)
        np.testing.assert_array_equal(parameters[0].grad, np.array([3.0, bad], dtype))
        assert parameters[1].grad.tolist() == [4.0]


def test_freezing_and_thawing_within_a_shared_array() -> None:
    """A frozen parameter neither moves nor decays while the others move, and continues where it stopped."""
    model = GPT(CONFIG)
    optimizer = AdamW(model.decay_groups(0.1), lr=1e-2)
    frozen = model.blocks[0].attention.project_in.weight
    others = [p for p in model.parameters() if p is not frozen]

    def moved() -> tuple[bool, bool]:
        before = {id(p): p.data.copy() for p in model.parameters()}
        model.arena.grad[...] = 1
        optimizer.step()
        return bool((frozen.data != before[id(frozen)]).any()), all((p.data != before[id(p)]).any() for p in others)

    assert moved() == (True, True)
    frozen.requires_grad = False
    assert moved() == (False, True)
    frozen.requires_grad = True
    assert moved() == (True, True)
    steps = {values["step"] for values in optimizer.state_dict()["state"].values()}
    assert steps == {2, 3}


def test_loading_the_state_of_a_new_optimizer_starts_anew() -> None:
    first, second = (nn.Parameter(np.ones(3)) for _ in range(2))
    used, fresh = AdamW([first], lr=0.1), AdamW([second], lr=0.1)
    first.grad = np.array([1.0, -2.0, 3.0])
    used.step()
    used.load_state_dict(fresh.state_dict())
    first.data, second.grad = second.data, first.grad
    used.step()
    fresh.step()
    np.testing.assert_array_equal(first.data, second.data)


def test_a_state_of_another_kind_is_refused() -> None:
    first, second = (nn.Parameter(np.ones(3)) for _ in range(2))
    sgd, adam = SGD([first], momentum=0.9), AdamW([second])
    first.grad = np.ones(3)
    sgd.step()
    with pytest.raises(ValueError, match="momentum_buffer, not exp_avg, exp_avg_sq"):
        adam.load_state_dict(sgd.state_dict())
