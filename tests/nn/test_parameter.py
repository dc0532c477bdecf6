"""Parameters: their roles, their places in flat arrays, copies, and twins that share a value."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.nn.parameter import Part, Place, parts_of

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


def bound(values: Any, start: int, size: int, role: Any = "vector") -> nn.Parameter:
    parameter = nn.Parameter(values, role=role)
    grad = np.zeros(size, parameter.dtype)
    parameter.bind(Place(np.zeros_like(grad), grad, slice(start, start + parameter.size)))
    return parameter


# Roles


def test_layers_say_what_their_parameters_are_for() -> None:
    table = nn.Embedding(5, 4)
    found = {
        "linear": nn.Linear(4, 3),
        "convolution": nn.Conv2d(2, 3, 3),
        "norm": nn.LayerNorm(4),
        "embedding": table,
        "tied": nn.Unembedding(table.weight, bias=True),
        "own": nn.Unembedding(nn.Parameter(np.zeros((5, 4)), role="head"), bias=True),
    }
    roles = {f"{name}.{part}": p.role for name, layer in found.items() for part, p in layer.named_parameters()}
    assert roles == {
        "linear.weight": "matrix", "linear.bias": "vector",
        "convolution.weight": "matrix", "convolution.bias": "vector",
        "norm.weight": "vector", "norm.bias": "vector",
        "embedding.weight": "embedding",
        "tied.weight": "embedding", "tied.bias": "vector",
        "own.weight": "head", "own.bias": "vector",
    }  # fmt: skip
    assert nn.Parameter(np.zeros((2, 2))).role == "vector"  # nobody guesses from a shape


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_the_role_survives_a_copy(copied: Callable[[Any], Any]) -> None:
    for role in ("matrix", "embedding", "head", "vector"):
        assert copied(nn.Parameter(np.zeros(3), role=role)).role == role
        assert copied(bound(np.zeros(3), 1, 5, role)).role == role
    assert copied(nn.Linear(2, 3)).weight.role == "matrix"


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_the_widths_of_fused_maps_survive_a_copy(copied: Callable[[Any], Any]) -> None:
    assert copied(nn.Parameter(np.zeros((2, 3)))).widths == ()
    fused = nn.Parameter(np.zeros((2, 5)), role="matrix")
    fused.widths = (2, 3)
    assert copied(fused).widths == (2, 3)
    attention = copied(nn.MultiHeadAttention(4, 2))
    assert attention.project_in.weight.widths == (4, 4, 4)
    assert attention.project_out.weight.widths == ()
    twin = nn.Parameter.sharing(fused)
    assert twin.widths == (2, 3)
    other = nn.Parameter(np.zeros((2, 5)))
    other.share(fused)
    assert other.widths == (2, 3)


# Places


def test_a_bound_parameter_knows_its_place() -> None:
    parameter = nn.Parameter(np.arange(6.0).reshape(2, 3))
    assert parameter.place is None
    data, grad = np.full(9, -1.0), np.full(9, -1.0)
    place = Place(data, grad, slice(2, 8))
    parameter.bind(place)
    assert parameter.place is place
    assert parameter.place.data is data
    assert data.tolist() == [-1, -1, 0, 1, 2, 3, 4, 5, -1]
    parameter.data = parameter.data * 2
    parameter.accumulate(np.ones((2, 3)))
    np.testing.assert_array_equal(data[place.span].reshape(2, 3), parameter.data)
    np.testing.assert_array_equal(grad[place.span].reshape(2, 3), np.ones((2, 3)))


def test_a_place_is_followed_by_the_next_of_the_same_arrays() -> None:
    data, grad, other = np.zeros(9), np.zeros(9), np.zeros(9)
    first = Place(data, grad, slice(2, 5))
    assert first.is_followed_by(Place(data, grad, slice(5, 9)))
    assert first.is_followed_by(Place(data, grad, slice(5, 5)))  # of a parameter without elements
    for second in (
        None,
        first,
        Place(data, grad, slice(6, 9)),
        Place(data, grad, slice(0, 2)),
        Place(other, grad, slice(5, 9)),
        Place(data, other, slice(5, 9)),
        Place(data[:], grad, slice(5, 9)),  # the same memory, but through another view
    ):
        assert not first.is_followed_by(second)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_bound_parameter_has_memory_of_its_own(copied: Callable[[Any], Any]) -> None:
    parameter = bound(np.arange(3.0), 1, 5)
    parameter.grad = np.full(3, 7.0)
    parameter.requires_grad = False
    twin = copied(parameter)
    assert twin.place is None
    assert not twin.requires_grad
    assert twin.data.base is None or not np.shares_memory(twin.data, parameter.place.data)
    np.testing.assert_array_equal(twin.grad, [7, 7, 7])
    twin.data = np.full(3, 5.0)
    twin.grad = np.full(3, 6.0)
    twin.mark_changed()
    assert parameter.data.tolist() == [0, 1, 2]
    assert parameter.grad.tolist() == [7, 7, 7]
    twin.zero_grad()
    assert twin.grad is None  # as for any parameter that is not bound
    assert parameter.place is not None
    assert parameter.place.data.tolist() == [0, 0, 1, 2, 0]


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_keeps_what_was_set_on_a_parameter(copied: Callable[[Any], Any]) -> None:
    parameter = nn.Parameter(np.zeros(2))
    parameter.note = "kept"  # type: ignore[attr-defined]
    assert copied(parameter).note == "kept"


def test_a_pickle_of_one_parameter_does_not_hold_its_neighbours() -> None:
    assert len(pickle.dumps(bound(np.zeros(3), 1, 100_000))) < 2000


# Parts


def test_parts_cut_a_flat_array_in_order() -> None:
    parameters = [nn.Parameter(np.zeros(shape), role=role) for shape, role in (((2, 3), "matrix"), ((), "vector"))]
    parts = parts_of([*parameters, nn.Parameter(np.zeros((0, 2)))])
    assert [part.span for part in parts] == [slice(0, 6), slice(6, 7), slice(7, 7)]
    assert [part.shape for part in parts] == [(2, 3), (), (0, 2)]
    assert [part.role for part in parts] == ["matrix", "vector", "vector"]
    assert parts[0].parameter is parameters[0]
    flat = np.arange(7)
    np.testing.assert_array_equal(parts[0].of(flat), [[0, 1, 2], [3, 4, 5]])
    parts[1].of(flat)[...] = 70
    assert flat[6] == 70
    assert parts_of([]) == []
    assert isinstance(parts[0], Part)


# Twins


@pytest.mark.parametrize("is_bound", [True, False])
def test_a_parameter_that_shares_holds_the_very_value_of_another(is_bound: bool) -> None:
    other = bound(np.arange(3.0), 1, 5, "head") if is_bound else nn.Parameter(np.arange(3.0), role="head")
    other.grad = np.ones(3)
    other.requires_grad = False
    twin = nn.Parameter.sharing(other)
    assert twin is not other
    assert (twin.role, twin.requires_grad, twin.grad, twin.place) == ("head", False, None, None)
    other.data = np.full(3, 9.0)
    assert twin.data.tolist() == [9, 9, 9]
    twin.data = np.full(3, 8.0)
    assert other.data.tolist() == [8, 8, 8]
    twin.requires_grad = True
    twin.accumulate(np.full(3, 2.0))
    assert not other.requires_grad
    assert other.grad is not None
    assert other.grad.tolist() == [1, 1, 1]


def test_a_change_of_a_twin_is_a_change_of_the_other() -> None:
    other = nn.Parameter(np.ones(3))
    loss = (other * other).sum()
    nn.Parameter.sharing(other).data = np.zeros(3)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_twin_may_have_its_gradient_in_a_flat_array() -> None:
    other, twin = bound(np.arange(3.0), 1, 5, "embedding"), nn.Parameter(np.zeros(3), role="head")
    flat = np.full(5, -1.0)
    twin.share(other, flat)
    assert twin.place is not None
    assert other.place is not None
    assert twin.place.data is other.place.data
    assert twin.place.grad is flat
    assert twin.role == "embedding"
    assert flat.tolist() == [-1, 0, 0, 0, -1]
    twin.accumulate(np.ones(3))
    assert flat.tolist() == [-1, 1, 1, 1, -1]
    assert other.grad is not None
    assert not other.grad.any()
    with pytest.raises(ValueError, match="lies in no flat array"):
        twin.share(nn.Parameter(np.zeros(3)), flat)
