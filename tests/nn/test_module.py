"""Modules and layers: what they keep, when they raise, how they find parameters, and how these start."""

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.autograd import default_generator, enable_grad, is_grad_enabled, manual_seed, no_grad
from handgrad.nn.parameter import Place
from handgrad.system.arrays import Array


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def linear() -> nn.Linear:
    return nn.Linear(3, 4, rng=rng(), dtype=np.float64)


# What a layer keeps between forward and backward


def test_a_backward_needs_a_forward_and_consumes_it() -> None:
    layer = linear()
    with pytest.raises(RuntimeError, match="Linear: backward without a forward"):
        layer.backward(np.ones((2, 4)))
    assert not layer.awaits_backward
    layer(np.ones((2, 3)))
    assert layer.awaits_backward
    layer.backward(np.ones((2, 4)))
    assert not layer.awaits_backward
    with pytest.raises(RuntimeError, match="Linear: backward without a forward"):
        layer.backward(np.ones((2, 4)))


def test_under_no_grad_nothing_is_kept() -> None:
    layer, x = linear(), np.ones((2, 3))
    with no_grad():
        y = layer(x)
        np.testing.assert_array_equal(layer(x), y)  # may run any number of times
    assert not layer.awaits_backward
    with pytest.raises(RuntimeError, match="backward without a forward"):
        layer.backward(np.ones((2, 4)))


def test_a_forward_under_no_grad_leaves_one_that_waits_alone() -> None:
    layer = linear()
    layer(np.ones((1, 3)))
    with no_grad():
        layer(np.full((1, 3), 5.0))
    layer.backward(np.ones((1, 4)))
    np.testing.assert_array_equal(layer.weight.grad, np.ones((3, 4)))  # of the first input, not the second


def test_forget_clears_every_layer_below() -> None:
    model = nn.Sequential(linear(), nn.GELU(), nn.Sequential(nn.Linear(4, 2, dtype=np.float64)))
    model(np.ones((2, 3)))
    model.forget()
    assert not any(layer.awaits_backward for layer in model.modules() if isinstance(layer, nn.Layer))
    assert all(parameter.grad is None for parameter in model.parameters())
    model(np.ones((2, 3)))  # is not refused


def test_an_operation_that_fails_keeps_nothing() -> None:
    layer = linear()
    with pytest.raises(ValueError, match="last size must be 3"):
        layer(np.ones((2, 5)))
    assert not layer.awaits_backward


def test_modules_that_have_no_forward_or_backward_say_so() -> None:
    class Half(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Half has no forward"):
        Half()(1)
    with pytest.raises(NotImplementedError, match=r"Half has no backward: call backward\(\) on what it returned"):
        Half().backward(1)


# no_grad


def test_no_grad_and_enable_grad_nest_and_are_put_back_after_an_error() -> None:
    assert is_grad_enabled()
    with no_grad():
        assert not is_grad_enabled()
        with enable_grad():
            assert is_grad_enabled()
        assert not is_grad_enabled()
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert is_grad_enabled()


def test_both_are_decorators() -> None:
    @no_grad()
    def without() -> bool:
        return is_grad_enabled()

    @enable_grad()
    def with_() -> bool:
        return is_grad_enabled()

    assert [without(), is_grad_enabled(), without()] == [False, True, False]
    with no_grad():
        assert [with_(), is_grad_enabled(), with_()] == [True, False, True]


def test_threads_do_not_disturb_one_anothers_grad_mode() -> None:
    inside, looked = threading.Event(), threading.Event()
    seen: dict[str, bool] = {}

    def other() -> None:
        with no_grad():
            inside.set()
            assert looked.wait(10)
            seen["in the other thread"] = is_grad_enabled()

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    seen["here, meanwhile"] = is_grad_enabled()
    layer = linear()
    layer(np.ones((1, 3)))
    looked.set()
    thread.join(10)
    assert seen == {"here, meanwhile": True, "in the other thread": False}
    assert layer.awaits_backward


# Gradients


def test_gradients_add_up_over_two_passes_and_zero_grad_forgets_them() -> None:
    layer, x, dy = linear(), rng(1).standard_normal((2, 3)), rng(2).standard_normal((2, 4))
    layer(x)
    layer.backward(dy)
    once = layer.weight.grad.copy()
    np.testing.assert_allclose(once, x.T @ dy, rtol=1e-12)
    layer(2 * x)
    layer.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, 3 * once, rtol=1e-12)
    np.testing.assert_allclose(layer.bias.grad, 2 * dy.sum(axis=0), rtol=1e-12)
    layer.zero_grad()
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_a_parameter_that_requires_no_gradient_gets_none() -> None:
    layer, x = linear(), np.ones((2, 3))
    layer.weight.requires_grad = False
    layer(x)
    dx = layer.backward(np.ones((2, 4)))
    assert layer.weight.grad is None
    np.testing.assert_array_equal(layer.bias.grad, np.full(4, 2.0))
    np.testing.assert_allclose(dx, np.ones((2, 4)) @ layer.weight.data.T)  # the gradient still passes through


def test_a_parameter_used_twice_gets_the_sum_of_both() -> None:
    embedding = nn.Embedding(5, 3, rng=rng(), dtype=np.float64)
    head = nn.Unembedding(embedding.weight)
    ids, dy = np.array([1, 1, 4]), rng(1).standard_normal((3, 5))
    x = embedding(ids)
    head(x)
    assert embedding.backward(head.backward(dy)) is None  # ids have no gradient
    expected = dy.T @ x
    np.add.at(expected, ids, dy @ embedding.weight.data)
    np.testing.assert_allclose(embedding.weight.grad, expected, rtol=1e-12)


def test_the_gradient_does_not_share_memory_with_what_it_was_made_from() -> None:
    parameter, gradient = nn.Parameter(np.zeros(3)), np.ones(3)
    parameter.accumulate(gradient)
    gradient[...] = 7
    parameter.accumulate(np.ones(3))
    np.testing.assert_array_equal(parameter.grad, np.full(3, 2.0))
    parameter.grad = gradient
    gradient[...] = 9
    np.testing.assert_array_equal(parameter.grad, np.full(3, 7.0))


# Parameters


def test_assigning_to_data_copies_in_so_that_views_stay_right() -> None:
    parameter = nn.Parameter(np.zeros((2, 3), np.float32))
    held, value = parameter.data, np.arange(6.0).reshape(2, 3)
    parameter.data = value
    value[...] = -1
    assert parameter.data is held
    np.testing.assert_array_equal(held, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert parameter.dtype == np.float32


@pytest.mark.parametrize("value", [np.float64(1.0), np.ones(3), np.ones((1, 3)), np.ones((2, 1)), np.ones((3, 2))])
def test_assigning_another_shape_is_refused_even_where_numpy_would_broadcast(value: Array) -> None:
    parameter = nn.Parameter(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"Parameter: data of shape .* cannot be assigned to one of shape \(2, 3\)"):
        parameter.data = value
    with pytest.raises(ValueError, match=r"Parameter: grad of shape .* cannot be assigned to one of shape \(2, 3\)"):
        parameter.grad = value
    np.testing.assert_array_equal(parameter.data, np.zeros((2, 3)))
    assert parameter.grad is None


def test_a_parameter_owns_its_value() -> None:
    value = np.zeros(3)
    parameter = nn.Parameter(value)
    value[...] = 1
    np.testing.assert_array_equal(parameter.data, np.zeros(3))


def test_a_bound_parameter_lives_in_the_larger_arrays_for_good() -> None:
    parameter, data, grad = nn.Parameter(np.arange(3.0)), np.full(5, -1.0), np.full(5, -1.0)
    parameter.bind(Place(data, grad, slice(1, 4)))
    assert data.tolist() == [-1, 0, 1, 2, -1]
    assert grad.tolist() == [-1, 0, 0, 0, -1]
    parameter.accumulate(np.ones(3))
    parameter.data = np.full(3, 8.0)
    assert data.tolist() == [-1, 8, 8, 8, -1]
    assert grad.tolist() == [-1, 1, 1, 1, -1]
    parameter.grad = np.full(3, 5.0)
    assert grad.tolist() == [-1, 5, 5, 5, -1]
    parameter.zero_grad()  # zeros, not None
    assert grad.tolist() == [-1, 0, 0, 0, -1]
    assert np.shares_memory(parameter.grad, grad)


# Names and states


class Nested(nn.Module):
    """Parameters and modules by attribute, in a list and in a tuple."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(2))
        self.layers = [nn.Linear(2, 2), nn.GELU(), nn.LayerNorm(2)]
        self.pair = (nn.Linear(2, 3, bias=False), nn.Dropout(0.5))
        self.extra = [nn.Parameter(np.zeros(1)), nn.Parameter(np.zeros(4))]
        self.inner = nn.Sequential(nn.Dropout(0.1), nn.Linear(3, 1))
        self.size = 3  # neither


NAMES = [
    "scale", "extra.0", "extra.1", "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias",
    "pair.0.weight", "inner.1.weight", "inner.1.bias",
]  # fmt: skip


def test_parameters_are_found_by_attribute_and_in_lists_and_tuples() -> None:
    model = Nested()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [parameter.size for parameter in model.parameters()] == [2, 1, 4, 4, 2, 2, 2, 6, 3, 1]
    assert dict(model.named_parameters())["pair.0.weight"] is model.pair[0].weight
    names = [name for name, _ in model.named_children()]
    assert names == ["layers.0", "layers.1", "layers.2", "pair.0", "pair.1", "inner"]


def test_a_parameter_or_module_held_twice_is_counted_once_under_its_first_name() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.table = nn.Embedding(5, 3)
            self.head = nn.Unembedding(self.table.weight, bias=True)
            self.again = self.table

    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["table.weight", "head.bias"]
    assert list(model.modules()) == [model, model.table, model.head]
    assert list(model.state_dict()) == ["table.weight", "head.bias"]


def test_train_and_eval_reach_every_module() -> None:
    model = Nested()
    assert len(list(model.modules())) == 9
    assert all(module.training for module in model.modules())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train() is model
    assert all(module.training for module in model.modules())


def test_a_state_is_a_copy_and_loads_into_another_model() -> None:
    model, other = Nested(), Nested()
    state = model.state_dict()
    assert list(state) == NAMES
    before = state["layers.0.weight"].copy()
    model.layers[0].weight.data[...] = 100
    np.testing.assert_array_equal(state["layers.0.weight"], before)
    held = other.layers[0].weight.data
    other.load_state_dict(state)
    assert other.layers[0].weight.data is held  # same array, new values
    for name, parameter in other.named_parameters():
        np.testing.assert_array_equal(parameter.data, state[name])
    state["scale"][...] = -1
    np.testing.assert_array_equal(other.scale.data, np.ones(2))


def test_a_state_that_does_not_fit_is_refused_whole_with_every_reason() -> None:
    model = Nested()
    before = model.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    del state["scale"], state["inner.1.bias"]
    state |= {"stranger": np.zeros(1), "layers.9.weight": np.zeros(1)}
    state["extra.1"] = np.zeros((2, 2))
    state["layers.2.bias"] = np.zeros(3)
    with pytest.raises(ValueError, match="state does not fit Nested; ") as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "state does not fit Nested; missing: scale, inner.1.bias; unexpected: stranger, layers.9.weight; "
        "wrongly shaped: extra.1 has shape (2, 2), not (4,), layers.2.bias has shape (3,), not (2,)"
    )
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_each_kind_of_misfit_is_refused_by_itself() -> None:
    model = nn.Linear(2, 2, bias=False)
    good = model.state_dict()
    for state, says in (
        ({}, "state does not fit Linear; missing: weight"),
        ({**good, "bias": np.zeros(2)}, "state does not fit Linear; unexpected: bias"),
        ({"weight": np.float32(1)}, r"state does not fit Linear; wrongly shaped: weight has shape \(\), not \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"^{says}$"):
            model.load_state_dict(state)


# Dropout


def test_dropout_out_of_training_is_the_identity_both_ways() -> None:
    layer, x = nn.Dropout(0.9).eval(), rng().standard_normal((50, 4))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)


def test_dropout_keeps_the_mean_and_drops_the_gradient_where_it_dropped_the_value() -> None:
    layer, x = nn.Dropout(0.3, rng=rng()), np.ones((200, 500))
    y = layer(x)
    dropped = y == 0
    assert abs(dropped.mean() - 0.3) < 0.01  # 7 standard deviations
    np.testing.assert_allclose(y[~dropped], 1 / 0.7)
    assert abs(y.mean() - 1) < 0.01
    np.testing.assert_array_equal(layer.backward(x), y)
    assert set(np.unique(dropped.mean(axis=0) > 0)) == {True}  # every column has dropped elements


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"Dropout: p must lie in \[0, 1\]"):
        nn.Dropout(p)


def drawn(model: nn.Module) -> Array:
    with no_grad():
        return model(np.ones((4, 64)))


def test_dropout_is_seeded_by_manual_seed() -> None:
    layer = nn.Dropout(0.5)
    manual_seed(7)
    first, second = drawn(layer), drawn(layer)
    manual_seed(7)
    np.testing.assert_array_equal(drawn(layer), first)
    np.testing.assert_array_equal(drawn(layer), second)
    assert not np.array_equal(first, second)
    manual_seed(8)
    assert not np.array_equal(drawn(layer), first)


def test_set_generator_reaches_every_layer_that_draws() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    manual_seed(0)
    model.set_generator(rng(7))
    first = drawn(model)
    model.set_generator(rng(7))
    manual_seed(1)  # no longer has an effect
    np.testing.assert_array_equal(drawn(model), first)
    model.set_generator(rng(8))
    assert not np.array_equal(drawn(model), first)
    attention = nn.MultiHeadAttention(4, 2, dropout=0.5)
    attention.set_generator(generator := rng())
    assert attention.attend.rng is attention.dropout.rng is generator


# Initial values


def filled(function: Callable[..., None], shape: tuple[int, ...] = (200, 300), **options: Any) -> Array:
    parameter = nn.Parameter(np.full(shape, np.nan))
    function(parameter, **options)
    return parameter.data


def test_constants() -> None:
    np.testing.assert_array_equal(filled(nn.init.zeros, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(filled(nn.init.ones, (2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("function", "options", "mean", "std"),
    [
        (nn.init.normal, {}, 0, 1),
        (nn.init.normal, {"mean": 3.0, "std": 0.02}, 3, 0.02),
        (nn.init.xavier_normal, {}, 0, math.sqrt(2 / 500)),
        (nn.init.xavier_normal, {"gain": 2.0}, 0, 2 * math.sqrt(2 / 500)),
        (nn.init.kaiming_normal, {}, 0, math.sqrt(2 / 200)),
    ],
)
def test_normal_laws_have_their_moments(function: Any, options: dict[str, float], mean: float, std: float) -> None:
    values = filled(function, rng=rng(), **options)
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    assert abs(values.std() / std - 1) < 0.02
    standard = (values - mean) / std
    assert abs((standard**4).mean() - 3) < 0.15  # normal, not just this wide: a uniform distribution has 1.8


@pytest.mark.parametrize(
    ("function", "options", "low", "high"),
    [
        (nn.init.uniform, {}, 0, 1),
        (nn.init.uniform, {"low": -3.0, "high": 5.0}, -3, 5),
        (nn.init.xavier_uniform, {}, -math.sqrt(6 / 500), math.sqrt(6 / 500)),
        (nn.init.xavier_uniform, {"gain": 3.0}, -3 * math.sqrt(6 / 500), 3 * math.sqrt(6 / 500)),
        (nn.init.kaiming_uniform, {}, -math.sqrt(6 / 200), math.sqrt(6 / 200)),
    ],
)
def test_even_laws_fill_their_bounds(function: Any, options: dict[str, float], low: float, high: float) -> None:
    values = filled(function, rng=rng(), **options)
    assert low <= values.min() < low + 1e-3 * (high - low)
    assert high - 1e-3 * (high - low) < values.max() <= high
    assert abs(values.std() / ((high - low) / math.sqrt(12)) - 1) < 0.02
    assert abs(values.mean() - (low + high) / 2) < 0.02 * (high - low)


def test_fans_of_a_weight_that_stands_as_in_out() -> None:
    assert nn.init.fans(nn.Parameter(np.zeros((2, 7)))) == (2, 7)
    for shape in ((3,), (2, 3, 4), ()):
        with pytest.raises(ValueError, match="has no fan-in and fan-out; a matrix has"):
            nn.init.fans(nn.Parameter(np.zeros(shape)))


def test_where_no_generator_is_passed_the_default_one_draws() -> None:
    manual_seed(3)
    first = filled(nn.init.normal, (4,))
    expected = rng(3).standard_normal(4)
    np.testing.assert_array_equal(first, expected)
    manual_seed(3)
    np.testing.assert_array_equal(nn.Embedding(2, 2, dtype=np.float64).weight.data.ravel(), expected)
    manual_seed(3)
    np.testing.assert_array_equal(default_generator().standard_normal(4), expected)


def test_float32_values_are_the_rounded_float64_ones() -> None:
    double, single = (nn.Linear(5, 4, rng=rng(2), dtype=dtype) for dtype in (np.float64, np.float32))
    assert single.weight.dtype == single.bias.dtype == np.float32
    np.testing.assert_array_equal(single.weight.data, double.weight.data.astype(np.float32))
    np.testing.assert_array_equal(single.bias.data, double.bias.data.astype(np.float32))


def test_how_layers_start() -> None:
    layer = nn.Linear(100, 300, rng=rng())
    for values in (layer.weight.data, layer.bias.data):
        assert 0.098 < np.abs(values).max() <= 0.1  # ±1/√100
    assert nn.Linear(2, 3, bias=False).bias is None
    table = nn.Embedding(200, 100, rng=rng()).weight.data
    assert abs(table.std() - 1) < 0.02
    norm = nn.LayerNorm(4)
    np.testing.assert_array_equal(norm.weight.data, np.ones(4))
    np.testing.assert_array_equal(norm.bias.data, np.zeros(4))


def test_norms_that_are_made_or_called_with_wrong_sizes() -> None:
    np.testing.assert_array_equal(nn.RMSNorm((2, 3)).weight.data, np.ones((2, 3)))
    assert list(dict(nn.RMSNorm(4).named_parameters())) == ["weight"]
    for made in (nn.RMSNorm, nn.LayerNorm):
        name = made.__name__
        with pytest.raises(ValueError, match=f"{name}: normalized_shape must name at least one size"):
            made(())
        with pytest.raises(ValueError, match=rf"{name}: the last axes of x \(3, 5\) are not \(4,\)"):
            made(4, elementwise_affine=False)(np.ones((3, 5), np.float32))
        with pytest.raises(ValueError, match=r"weight must have shape \(5,\)"):
            made(4)(np.ones((3, 5), np.float32))


@pytest.mark.parametrize("cap", [0, -2.0, np.nan, np.inf])
def test_a_cap_is_a_finite_number_above_0(cap: float) -> None:
    with pytest.raises(ValueError, match=f"tanh_cap: cap must be a finite number above 0, not {cap}"):
        nn.TanhCap(cap)


# Leading shapes

SHAPES = [(), (5,), (2, 5), (2, 3, 5), (1, 1, 1, 1), (0,), (2, 0, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_takes_any_leading_shape(shape: tuple[int, ...]) -> None:
    layer, x, dy = linear(), rng(1).standard_normal((*shape, 3)), rng(2).standard_normal((*shape, 4))
    expected = np.einsum("...i,io->...o", x, layer.weight.data) + layer.bias.data
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    np.testing.assert_allclose(layer.backward(dy), np.einsum("...o,io->...i", dy, layer.weight.data), rtol=1e-12)
    np.testing.assert_allclose(layer.weight.grad, x.reshape(-1, 3).T @ dy.reshape(-1, 4), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(layer.bias.grad, dy.sum(axis=tuple(range(len(shape)))), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_embedding_takes_any_shape_of_ids(shape: tuple[int, ...]) -> None:
    layer = nn.Embedding(6, 4, rng=rng(), dtype=np.float64)
    ids, dy = rng(1).integers(0, 6, shape), rng(2).standard_normal((*shape, 4))
    y = layer(ids)
    assert y.shape == (*shape, 4)
    for index in np.ndindex(shape):
        np.testing.assert_array_equal(y[index], layer.weight.data[ids[index]])
    layer.backward(dy)
    expected = np.zeros((6, 4))
    for index in np.ndindex(shape):
        expected[ids[index]] += dy[index]
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_takes_any_leading_shape(shape: tuple[int, ...]) -> None:
    layer, x = nn.LayerNorm(6, dtype=np.float64), 3 + 5 * rng(1).standard_normal((*shape, 6))
    layer.weight.data = np.arange(1.0, 7.0)
    layer.bias.data = np.full(6, 0.5)
    y = layer(x)
    assert y.shape == x.shape
    x_hat = (y - 0.5) / np.arange(1.0, 7.0)
    np.testing.assert_allclose(x_hat.mean(axis=-1), np.zeros(shape), atol=1e-12)
    np.testing.assert_allclose(x_hat.std(axis=-1), np.ones(shape), rtol=1e-4)
    # A common shift of all gradients of x̂ changes nothing: normalising removes the constant direction.
    dx = layer.backward(np.ones_like(x) / layer.weight.data)
    np.testing.assert_allclose(dx, np.zeros_like(x), atol=1e-12)
    np.testing.assert_allclose(layer.bias.grad, math.prod(shape) / layer.weight.data, rtol=1e-12)


def test_linear_names_the_size_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"linear: x has shape \(2, 5\), but its last size must be 3, that of weight"):
        linear()(np.ones((2, 5)))


def test_sequential_runs_in_order_and_back_in_reverse() -> None:
    first, second = nn.Linear(3, 4, rng=rng(), dtype=np.float64), nn.Linear(4, 2, rng=rng(1), dtype=np.float64)
    model, x = nn.Sequential(first, nn.ReLU(), second), rng(2).standard_normal((5, 3))
    hidden = np.maximum(x @ first.weight.data + first.bias.data, 0)
    np.testing.assert_allclose(model(x), hidden @ second.weight.data + second.bias.data, rtol=1e-12)
    dy = rng(3).standard_normal((5, 2))
    d_hidden = (dy @ second.weight.data.T) * (hidden > 0)
    np.testing.assert_allclose(model.backward(dy), d_hidden @ first.weight.data.T, rtol=1e-12)
    assert len(model) == 3
    assert model[2] is second


def test_a_state_with_the_old_names_of_sequential_still_loads() -> None:
    def made() -> nn.Sequential:
        return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.GELU(), nn.Linear(3, 1)))

    net, other = made(), made()
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.1.weight", "1.1.bias"]
    names = {"0": "layers.0", "1.1": "layers.1.layers.1"}
    old = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": v for name, v in net.state_dict().items()}
    assert list(old)[-1] == "layers.1.layers.1.bias"
    other.load_state_dict(old)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, net.state_dict()[name])


def test_what_pytorchs_users_write_works_or_is_explained() -> None:
    with pytest.raises(TypeError, match=r"give the modules one by one, Sequential\(\*modules\), not as a list"):
        nn.Sequential([nn.Linear(2, 2)])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Sequential: 1 must be a Module, not function"):
        nn.Sequential(nn.Linear(2, 2), lambda x: x)  # type: ignore[arg-type]
    named = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.ReLU()})
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert named([[1.0, 2.0]]).shape == (1, 3)  # type: ignore[arg-type]
    assert nn.Linear(2, 2)([[1.0, 2.0]]).shape == nn.Linear(2, 2)([[1, 2]]).shape == (1, 2)
    module = nn.Module()
    module.register_buffer("mean", None)
    module.register_parameter("gain", None)
    assert (module.mean, module.gain, module.state_dict()) == (None, None, {})
    module.register_buffer("mean", np.ones(2))
    assert list(module.state_dict()) == ["mean"]
    with pytest.raises(TypeError, match="ModuleDict: a Module cannot be called 'forward'"):
        nn.ModuleDict({"forward": nn.GELU()})
