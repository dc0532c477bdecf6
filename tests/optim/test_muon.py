"""Muon: what Newton-Schulz does to a matrix, which matrices there are, the size of a step, and threads."""

import math
from typing import Any

import numpy as np
import pytest

from handgrad import nn, ops
from handgrad.models import GPT, GPTConfig
from handgrad.models.arena import Arena
from handgrad.ops.newton_schulz import COEFFICIENTS
from handgrad.optim import AdamW, Combined, Muon
from handgrad.system.arrays import Array
from handgrad.system.threads import Team

SHAPES = [(5, 13), (13, 5), (7, 7), (1, 4), (4, 1), (1, 1)]


def matrix(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def map_of(*shape: int, seed: int = 0, dtype: Any = np.float64, widths: tuple[int, ...] = ()) -> nn.Parameter:
    """A parameter with a gradient."""
    parameter = nn.Parameter(matrix(*shape, seed=seed, dtype=dtype), role="matrix")
    parameter.widths = widths
    parameter.grad = matrix(*shape, seed=seed + 100, dtype=dtype)
    return parameter


# Newton-Schulz


@pytest.mark.parametrize("shape", SHAPES)
def test_each_singular_value_goes_through_the_polynomial_and_the_vectors_stay(shape: tuple[int, int]) -> None:
    x = matrix(*shape)
    U, s, Vt = np.linalg.svd(x, full_matrices=False)
    s = s / np.linalg.norm(x)
    a, b, c = COEFFICIENTS
    for steps in range(6):
        np.testing.assert_allclose(ops.newton_schulz(x, steps), U * s @ Vt, atol=1e-12)
        s = a * s + b * s**3 + c * s**5


def test_singular_values_end_near_1() -> None:
    """As the docstring says: all from 0.0015 of the norm on."""
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((30, 30)))[0] for _ in range(2))
    s = np.geomspace(1, 1.6e-3, 30)
    s[0] = math.sqrt(1 - np.square(s[1:]).sum()) if np.square(s[1:]).sum() < 1 else 1.0
    s /= np.linalg.norm(s)
    s = np.maximum(s, 1.5e-3)
    found = np.linalg.svd(ops.newton_schulz(U * s @ V.T), compute_uv=False)
    assert found.max() < 1.21
    assert found.min() > 0.67
    tiny = ops.newton_schulz(np.diag([1.0, 1e-6]))
    assert tiny[1, 1] == pytest.approx(485e-6, rel=1e-2)


def test_other_coefficients_converge_to_the_orthogonal_matrix() -> None:
    x = matrix(6, 9)
    U, _, Vt = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(ops.newton_schulz(x, 30, (15 / 8, -10 / 8, 3 / 8)), U @ Vt, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_zeros_large_numbers_and_the_input(dtype: Any) -> None:
    x = matrix(6, 4, dtype=dtype)
    before = x.copy()
    y = ops.newton_schulz(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(ops.newton_schulz(np.zeros((3, 2), dtype)), np.zeros((3, 2), dtype))
    for scale in (1e-3, 1e25):  # squares of 1e25 are infinite in float32
        np.testing.assert_allclose(ops.newton_schulz(x * dtype(scale)), y, rtol=0, atol=2e-5)
    assert np.abs(ops.newton_schulz(x * dtype(1e-12)).astype(np.float64)).max() < 0.1  # below eps it stays small


def test_a_view_gives_what_its_copy_gives() -> None:
    x = matrix(8, 12)
    for view in (x[::2, ::3], x.T, x[::-1], np.asfortranarray(x)):
        np.testing.assert_array_equal(ops.newton_schulz(view), ops.newton_schulz(view.copy()))


# Steps


def test_the_first_steps_by_hand() -> None:
    """b = 0.05 g, d = 0.05 g + 0.95 b; then b moves on. The wide matrix (in 3, out 12) steps by √4 as far."""
    for shape, scale in (((3, 12), 2.0), ((12, 3), 1.0), ((5, 5), 1.0)):
        p = map_of(*shape)
        optimizer = Muon([p], lr=0.1, weight_decay=0.5)
        x, mean = p.data.copy(), np.zeros(shape)
        for step in range(3):
            p.grad = grad = matrix(*shape, seed=200 + step)
            optimizer.step(grad_scale=2.0)
            mean = 0.95 * mean + 0.05 * 2 * grad
            direction = 0.05 * 2 * grad + 0.95 * mean
            x = x * (1 - 0.1 * 0.5) - 0.1 * scale * ops.newton_schulz(direction)
            np.testing.assert_allclose(p.data, x, rtol=0, atol=1e-12)
            np.testing.assert_allclose(optimizer.state_dict()["state"][0]["momentum_buffer"], mean, atol=1e-12)


@pytest.mark.parametrize(
    ("adjust", "scale"), [(None, math.sqrt(3)), ("original", math.sqrt(3)), ("match_rms_adamw", 0.6)]
)
def test_the_scale_of_a_step(adjust: Any, scale: float) -> None:
    p = map_of(3, 9)
    optimizer = Muon([p], lr=1.0, weight_decay=0.0, momentum=0.0, adjust_lr_fn=adjust)
    before, grad = p.data.copy(), p.grad
    optimizer.step()
    np.testing.assert_allclose(before - p.data, scale * ops.newton_schulz(grad), atol=1e-12)


def test_without_nesterov_the_step_is_the_mean() -> None:
    found = []
    for nesterov in (True, False):
        p = map_of(4, 6)
        optimizer = Muon([p], lr=1.0, weight_decay=0.0, momentum=0.5, nesterov=nesterov)
        optimizer.step()
        before, p.grad = p.data.copy(), matrix(4, 6, seed=300)
        mean = 0.25 * matrix(4, 6, seed=100) + 0.5 * p.grad
        direction = 0.5 * p.grad + 0.5 * mean if nesterov else mean
        optimizer.step()
        np.testing.assert_allclose(before - p.data, math.sqrt(1.5) * ops.newton_schulz(direction), atol=1e-12)
        found.append(before - p.data)
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_a_fused_matrix_is_as_many_matrices() -> None:
    fused, whole = map_of(6, 16, widths=(6, 6, 4)), map_of(6, 16)
    parts = [nn.Parameter(fused.data[:, columns].copy()) for columns in (slice(0, 6), slice(6, 12), slice(12, 16))]
    optimizers = Muon([fused], lr=0.1), Muon(parts, lr=0.1), Muon([whole], lr=0.1)
    for step in range(3):
        fused.grad = whole.grad = matrix(6, 16, seed=step)
        for part, columns in zip(parts, (slice(0, 6), slice(6, 12), slice(12, 16)), strict=True):
            part.grad = fused.grad[:, columns]
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_array_equal(fused.data, np.hstack([part.data for part in parts]))
    assert np.abs(fused.data - whole.data).max() > 1e-2


@pytest.mark.parametrize(
    "make", [lambda p: Muon([p], lr=0.1, cautious=True), lambda p: AdamW([p], lr=0.1, cautious=True)]
)
def test_a_cautious_decay_never_works_against_the_step(make: Any) -> None:
    decayed, plain = map_of(7, 9), map_of(7, 9)
    cautious, other = make(decayed), make(plain)
    for optimizer, decay in ((cautious, 0.5), (other, 0.0)):
        optimizer.param_groups[0]["weight_decay"] = decay
    before = plain.data.copy()
    cautious.step()
    other.step()
    step = before - plain.data
    shrunk = np.where(step * before >= 0, 0.1 * 0.5 * before, 0)
    assert 0 < np.count_nonzero(shrunk) < shrunk.size
    np.testing.assert_allclose(plain.data - decayed.data, shrunk, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lr": -0.1}, "Muon: lr must be at least 0, not -0.1"),
        ({"momentum": -1}, "Muon: momentum must be at least 0, not -1"),
        ({"eps": math.nan}, "Muon: eps must be at least 0, not nan"),
        ({"ns_steps": -2}, "Muon: ns_steps must be at least 0, not -2"),
        ({"adjust_lr_fn": "rms"}, "Muon: adjust_lr_fn must be None, 'original' or 'match_rms_adamw', not 'rms'"),
        ({"ns_coefficients": (1.0, 2.0)}, r"Muon: ns_coefficients must be three numbers, not \(1.0, 2.0\)"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        Muon([map_of(2, 3)], **options)


def test_only_matrices_are_orthogonalised() -> None:
    for shape in ((3,), (), (2, 3, 4)):
        with pytest.raises(ValueError, match=r"^Muon: a parameter must have two axes, not shape"):
            Muon([map_of(2, 2), nn.Parameter(np.ones(shape))])
    with pytest.raises(ValueError, match=r"^Muon: the widths \(2, 2\) do not add up to the 5 columns$"):
        Muon([map_of(3, 5, widths=(2, 2))])


def test_the_operations_of_a_step_are_counted() -> None:
    """Three products of n² m in all, as X Xᵀ is computed by half, and half of 2 n³."""
    assert Muon([map_of(3, 7)], ns_steps=2).flops == 2 * (3 * 9 * 7 + 27)
    assert Muon([map_of(7, 3)], ns_steps=2).flops == 2 * (3 * 9 * 7 + 27)
    assert Muon([map_of(4, 10, widths=(4, 6))]).flops == 5 * (4 * 4**3) + 5 * (3 * 16 * 6 + 64)


@pytest.mark.parametrize("in_arena", [True, False])
def test_bits_do_not_depend_on_the_number_of_threads(in_arena: bool) -> None:
    found = []
    for threads in (1, 2, 3, 8):
        parameters = [
            map_of(rows, columns, seed=rows, dtype=np.float32, widths=widths)
            for rows, columns, widths in (
                (64, 192, (64, 64, 64)),
                (64, 64, ()),
                (64, 256, ()),
                (256, 64, ()),
                (5, 3, ()),
            )
        ]
        grads = [p.grad for p in parameters]
        if in_arena:
            Arena(parameters)
        optimizer = Muon(parameters, lr=0.02, cautious=True)
        with Team(threads) as team:
            for _ in range(3):
                for p, grad in zip(parameters, grads, strict=True):
                    p.grad = grad
                optimizer.step(grad_scale=0.5, team=team)
        state = optimizer.state_dict()["state"].values()
        arrays = [*(p.data for p in parameters), *(values["momentum_buffer"] for values in state)]
        found.append([array.tobytes() for array in arrays])
    assert found[0] == found[1] == found[2] == found[3]


# With AdamW in one optimizer


def combined(model: GPT, lr: float = 0.01) -> Combined:
    roles = model.parameters_by_role()
    others = [{"params": [*roles["embedding"], *roles["head"]]}, {"params": roles["vector"], "weight_decay": 0.0}]
    return Combined([Muon(roles["matrix"], lr=2 * lr), AdamW(others, lr=lr, betas=(0.8, 0.95))])


def train(model: GPT, optimizers: list[Any], steps: range) -> None:
    for step in steps:
        rng = np.random.default_rng(step)
        ids = rng.integers(0, 11, (2, 4, 6))
        model.zero_grad()
        model.loss(*ids)
        model.backward()
        for optimizer in optimizers:
            optimizer.step()


CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12, tie_weights=False)


def test_several_optimizers_move_as_they_would_by_themselves() -> None:
    together, apart = GPT(CONFIG), GPT(CONFIG)
    train(together, [combined(together)], range(5))
    train(apart, combined(apart).optimizers, range(5))
    np.testing.assert_array_equal(together.arena.data, apart.arena.data)


def test_a_state_of_several_goes_on_bit_for_bit() -> None:
    straight, begun, resumed = GPT(CONFIG), GPT(CONFIG), GPT(CONFIG, seed=5)
    train(straight, [combined(straight)], range(6))
    optimizer, other = combined(begun), combined(resumed, lr=0.5)
    train(begun, [optimizer], range(3))
    state = optimizer.state_dict()
    kinds = [set(values) - {"step"} for values in state["state"].values()]
    n_matrices = len(begun.parameters_by_role()["matrix"])
    assert kinds[:n_matrices] == [{"momentum_buffer"}] * n_matrices
    assert kinds[n_matrices:] == [{"exp_avg", "exp_avg_sq"}] * (len(kinds) - n_matrices)
    resumed.load_state_dict(begun.state_dict())
    other.load_state_dict(state)
    train(resumed, [other], range(3, 6))
    np.testing.assert_array_equal(resumed.arena.data, straight.arena.data)


def test_a_state_of_several_that_does_not_fit_changes_nothing() -> None:
    model = GPT(CONFIG)
    optimizer = combined(model)
    train(model, [optimizer], range(1))
    before = optimizer.state_dict()
    first, last = min(before["state"]), max(before["state"])
    for index, wrong, says in (
        (first, {"step": 1, "exp_avg": 0.0, "exp_avg_sq": 0.0}, "has exp_avg, exp_avg_sq, not momentum_buffer"),
        (last, {"step": 1, "momentum_buffer": 0.0}, "has momentum_buffer, not exp_avg, exp_avg_sq"),
        (last, {"step": 1}, "has nothing, not exp_avg, exp_avg_sq"),
    ):
        state = optimizer.state_dict()
        state["state"][first if index != first else last]["step"] = 7
        state["state"][index] = wrong
        with pytest.raises(ValueError, match=f"^Combined: parameter {index} {says}$"):
            optimizer.load_state_dict(state)
        assert {values["step"] for values in optimizer.state_dict()["state"].values()} == {1}


def test_what_cannot_be_combined_is_refused() -> None:
    p, q = map_of(2, 3), map_of(2, 3)
    with pytest.raises(ValueError, match=r"^Combined: no optimizers to combine$"):
        Combined([])
    with pytest.raises(ValueError, match=r"^Combined: a parameter belongs to two of the optimizers$"):
        Combined([Muon([p]), AdamW([q, p])])
    with pytest.raises(ValueError, match=r"^Combined: add the group to one of the optimizers"):
        Combined([Muon([p])]).add_param_group({"params": [q]})


def test_a_group_of_a_fused_model_is_one_block() -> None:
    optimizer = combined(GPT(CONFIG))
    assert [len(blocks) for blocks in optimizer._blocks] == [1, 2, 1]  # the untied head lies behind the matrices
