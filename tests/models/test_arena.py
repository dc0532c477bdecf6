"""The arena: each parameter's place and role; copies of a model; twins that share values."""

import copy
import pickle

import numpy as np
import pytest

from handgrad import nn
from handgrad.models import GPT, GPTConfig
from handgrad.models.arena import Arena

CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12)


def parameters() -> list[nn.Parameter]:
    rng = np.random.default_rng(0)
    roles = {(3, 4): "matrix", (5,): "vector", (): "vector", (2, 2): "head"}
    return [nn.Parameter(rng.standard_normal(shape), role=role) for shape, role in roles.items()]  # type: ignore[arg-type]


def test_parts_say_what_lies_where() -> None:
    arena = Arena(parameters())
    assert [(part.span, part.shape, part.role) for part in arena.parts] == [
        (slice(0, 12), (3, 4), "matrix"),
        (slice(12, 17), (5,), "vector"),
        (slice(17, 18), (), "vector"),
        (slice(18, 22), (2, 2), "head"),
    ]
    for part in arena.parts:
        np.testing.assert_array_equal(part.of(arena.data), part.parameter.data)
        assert np.shares_memory(part.of(arena.data), part.parameter.data)
        assert part.parameter.place is not None
        assert part.parameter.place.span == part.span
        assert part.parameter.place.data is arena.data
        assert part.parameter.place.grad is arena.grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_parameters_of_a_gpt_have_their_roles(tied: bool, bias: bool) -> None:
    model = GPT(GPTConfig(11, 8, 1, 2, 12, tie_weights=tied, bias=bias))
    linear = [f"attention.project_{way}" for way in ("in", "out")] + ["feed_forward.expand", "feed_forward.contract"]
    expected = {"token_embedding.weight": "embedding", "position_embedding.weight": "embedding"}
    expected |= {f"blocks.0.{name}.weight": "matrix" for name in linear}
    if not tied:
        expected |= {"head.weight": "head"}
    roles = {name: p.role for name, p in model.named_parameters()}
    assert {name: role for name, role in roles.items() if role != "vector"} == expected
    assert {name for name, role in roles.items() if role == "vector"} == {
        name for name, p in model.named_parameters() if p.ndim == 1
    }
    decayed, others = model.decay_groups(0.1)
    assert {p.role for p in others["params"]} == {"vector"}
    assert [id(p) for p in (*decayed["params"], *others["params"])] == [id(p) for p in model.arena.parameters]


def test_what_decays_is_asked_of_the_role_and_not_of_the_shape() -> None:
    model = GPT(CONFIG)
    model.norm.weight.role = "matrix"
    model.blocks[0].attention.project_in.weight.role = "vector"
    decayed, others = ({id(p) for p in group["params"]} for group in model.decay_groups(0.1))
    assert id(model.norm.weight) in decayed
    assert id(model.blocks[0].attention.project_in.weight) in others


def test_a_pickled_arena_is_bound_anew() -> None:
    arena = Arena(parameters())
    arena.grad[...] = np.arange(22)
    for twin in (copy.deepcopy(arena), pickle.loads(pickle.dumps(arena))):
        np.testing.assert_array_equal(twin.data, arena.data)
        np.testing.assert_array_equal(twin.grad, arena.grad)
        assert not np.shares_memory(twin.data, arena.data)
        for part in twin.parts:
            assert part.parameter.place.data is twin.data
            assert np.shares_memory(part.parameter.grad, twin.grad)


def test_a_shallow_copy_of_a_model_leaves_the_model_whole() -> None:
    model = GPT(CONFIG)
    twin = copy.copy(model)
    model.token_embedding.weight.grad = np.ones((11, 12))
    for one in (model, twin):
        assert all(p.place is not None and p.place.data is one.arena.data for p in one.parameters())
        assert one.arena.grad.sum() == 132


def test_a_pickle_holds_every_number_once() -> None:
    model = GPT(GPTConfig(500, 8, 1, 1, 32))
    size = len(pickle.dumps(model))
    assert model.arena.data.nbytes + model.arena.grad.nbytes < size < 2.2 * model.arena.data.nbytes


def test_twins_share_values_and_have_gradients_of_their_own() -> None:
    own = parameters()
    own[1].requires_grad = False
    arena = Arena(own)
    arena.grad[...] = 3
    twin = arena.share([nn.Parameter.sharing(p) for p in own])
    assert twin.data is arena.data
    assert not twin.grad.any()
    for mine, theirs in zip(arena.parts, twin.parts, strict=True):
        assert theirs.parameter is not mine.parameter
        assert (theirs.role, theirs.shape) == (mine.role, mine.shape)
        assert theirs.parameter.requires_grad == mine.parameter.requires_grad
        assert theirs.parameter.place is not None
        assert theirs.parameter.place.data is arena.data
        assert theirs.parameter.place.grad is twin.grad
        theirs.parameter.grad = np.ones(theirs.shape)
    assert (twin.grad == 1).all()
    assert (arena.grad == 3).all()
    arena.data[...] = 5
    assert all((p.data == 5).all() for p in twin.parameters)
    with pytest.raises(ValueError, match="zip"):
        arena.share(parameters()[:2])
