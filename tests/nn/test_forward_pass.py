"""Passes by hand: a call from outside begins one, a layer runs once in it, and wrong gradients raise."""

import threading
from typing import Any

import numpy as np
import pytest

from handgrad import Tensor, nn, no_grad, ops
from handgrad.models import GPT, GPTConfig, LanguageModel
from handgrad.system.arrays import Array

CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12)


def linear(n_in: int = 3, n_out: int = 4) -> nn.Linear:
    return nn.Linear(n_in, n_out, rng=np.random.default_rng(0), dtype=np.float64)


def normal(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def model_and_batch(seed: int = 0) -> tuple[GPT, Array, Array]:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 11, (2, 3, 5))
    return GPT(CONFIG, seed=1, dtype=np.float64), x, y


def gradient_of(model: LanguageModel, x: Array, y: Array) -> Array:
    """The gradient from a copy of the model that runs nothing else."""
    fresh = GPT(CONFIG, dtype=np.float64)
    fresh.load_state_dict(model.state_dict())
    fresh.loss(x, y)
    fresh.backward()
    return fresh.arena.grad


# A call from outside begins a new pass


def test_a_model_may_be_looked_at_before_its_loss() -> None:
    model, x, y = model_and_batch()
    model(x)
    model.loss(x, y)
    model.backward()
    np.testing.assert_array_equal(model.arena.grad, gradient_of(model, x, y))


def test_the_last_of_several_calls_is_the_one_that_goes_back() -> None:
    layer, first, second, dy = linear(), normal(2, 3), normal(5, 3, seed=2), normal(5, 4, seed=3)
    layer(first)
    layer(second)
    np.testing.assert_allclose(layer.backward(dy), dy @ layer.weight.data.T)
    np.testing.assert_allclose(layer.weight.grad, second.T @ dy)
    with pytest.raises(RuntimeError, match="Linear: backward without a forward that kept what it needs"):
        layer.backward(normal(2, 4))


def test_a_loss_after_a_loss_counts_alone() -> None:
    model, x, y = model_and_batch()
    _, other_x, other_y = model_and_batch(seed=7)
    model.loss(other_x, other_y)
    model.loss(x, y)
    model.backward()
    np.testing.assert_array_equal(model.arena.grad, gradient_of(model, x, y))
    with pytest.raises(RuntimeError, match="backward without a forward"):
        model.backward()


def test_a_call_after_a_loss_goes_back_from_the_logits() -> None:
    model, x, y = model_and_batch()
    model.loss(x, y)
    logits = model(x)
    with pytest.raises(ValueError, match="needs ∂L/∂logits"):
        model.backward()  # the loss is dropped with its pass
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    model.backward((probabilities - np.eye(11)[y]) / y.size)
    np.testing.assert_allclose(model.arena.grad, gradient_of(model, x, y), atol=1e-15)


def test_a_pass_that_was_interrupted_leaves_nothing_behind() -> None:
    model, x, y = model_and_batch()
    model.loss(x, y)
    model.head.backward(model.d_logits(1.0))  # no further
    model.zero_grad()
    with pytest.raises(IndexError):
        model(np.full((1, 2), 99))  # raises in the first layer
    model.loss(x, y)
    model.backward()
    np.testing.assert_array_equal(model.arena.grad, gradient_of(model, x, y))


def test_what_no_later_pass_reached_is_dropped_too() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            self.left, self.right = linear(), linear()

        def forward(self, x: Any, goes_left: bool) -> Any:
            return (self.left if goes_left else self.right)(x)

        def backward(self, dy: Array) -> Array:
            return self.left.backward(dy)  # a mistake, if the last pass went right

    module = Either()
    module(normal(2, 3), True)
    module(normal(2, 3, seed=2), False)
    with pytest.raises(RuntimeError, match="Linear: backward without a forward"):
        module.backward(normal(2, 4))
    assert module.left.weight.grad is None


def test_forward_called_directly_is_a_pass_of_its_own() -> None:
    layer, dy = linear(), normal(2, 4)
    layer.forward(normal(2, 3))
    x = normal(2, 3, seed=2)
    layer.forward(x)
    layer.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, x.T @ dy)


def test_under_no_grad_a_call_begins_nothing_and_drops_nothing() -> None:
    model, x, y = model_and_batch()
    _, other, _ = model_and_batch(seed=7)
    model.loss(x, y)
    with no_grad():
        model(other)
        model.blocks[0](normal(1, 2, 12))
    model.backward()
    np.testing.assert_array_equal(model.arena.grad, gradient_of(model, x, y))


# Within one pass a layer runs once


class Twice(nn.Module):
    """A layer used twice, with a backward that looks right: the input of one of the two forwards would be lost."""

    def __init__(self) -> None:
        self.layer = linear(3, 3)

    def forward(self, x: Any) -> Any:
        return self.layer(self.layer(x))

    def backward(self, dy: Array) -> Array:
        return self.layer.backward(self.layer.backward(dy))


def test_a_layer_that_runs_twice_in_one_pass_is_refused_and_the_tape_is_named() -> None:
    module, x = Twice(), normal(2, 3)
    says = r"Linear: forward ran a second time in one pass.*call the model with a Tensor: on the tape"
    with pytest.raises(RuntimeError, match=says):
        module(x)
    with no_grad():
        y = module(x)
    taped = module(Tensor(x, requires_grad=True))  # as the message advises
    np.testing.assert_array_equal(taped.data, y)
    dy = normal(2, 3, seed=2)
    taped.backward(dy)
    weight, bias = module.layer.weight.data, module.layer.bias.data
    hidden = x @ weight + bias
    np.testing.assert_allclose(module.layer.weight.grad, hidden.T @ dy + x.T @ (dy @ weight.T))


def test_a_loss_is_one_pass_with_the_call_inside_it() -> None:
    class Looks(GPT):
        def forward(self, ids: Any) -> Any:
            self.cross_entropy(np.zeros((1, 2, 11)), np.zeros((1, 2), int))
            return super().forward(ids)

        def backward(self, dy: Any = 1.0) -> None:
            super().backward(dy)

    _, x, y = model_and_batch()
    with pytest.raises(RuntimeError, match="CrossEntropyLoss: forward ran a second time in one pass"):
        Looks(CONFIG).loss(x, y)


# Wrong gradients raise


def test_a_part_that_is_called_from_outside_breaks_the_pass_that_it_belonged_to() -> None:
    model, x, y = model_and_batch()
    for look in (
        lambda: model.blocks[1](normal(3, 5, 12)),  # of the same shape: only the pass distinguishes them
        lambda: model.token_embedding(x),
        lambda: model.blocks[0].attention.project_in(normal(3, 5, 12)),
        lambda: model.cross_entropy(normal(3, 5, 11), y),
        lambda: model.blocks[0].forget(),
    ):
        model.zero_grad()
        model.loss(x, y)
        look()
        with pytest.raises(RuntimeError, match="called again from outside before the backward"):
            model.backward()
        assert not model.arena.grad.any()
        model.loss(x, y)  # as the message advises
        model.backward()
        np.testing.assert_array_equal(model.arena.grad, gradient_of(model, x, y))


def test_parts_that_are_driven_one_by_one_each_have_their_own_pass() -> None:
    first, bend, second = linear(), nn.Tanh(), linear(4, 2)
    loss, x, target = nn.MSELoss(), normal(5, 3), normal(5, 2, seed=2)
    loss(second(bend(first(x))), target)
    dx = first.backward(bend.backward(second.backward(loss.backward())))
    whole = nn.Sequential(first, bend, second)
    for parameter in whole.parameters():
        parameter.zero_grad()
    loss(whole(x), target)
    np.testing.assert_array_equal(whole.backward(loss.backward()), dx)


def test_threads_do_not_share_a_pass() -> None:
    model, x, y = model_and_batch()
    twin, inside, looked = model.replica(), threading.Event(), threading.Event()
    found: list[Array] = []

    class Waits(nn.Tanh):
        def forward(self, x: Any) -> Any:
            inside.set()
            assert looked.wait(10)
            return super().forward(x)

        def backward(self, dy: Any) -> Any:
            return super().backward(dy)

    def other() -> None:
        layer = nn.Sequential(Waits(), linear())
        layer(normal(2, 3))
        found.append(layer.backward(np.ones((2, 4))))

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    twin.loss(x, y)
    twin.backward()
    looked.set()
    thread.join(10)
    np.testing.assert_array_equal(twin.arena.grad, gradient_of(model, x, y))
    slope = 1 - np.tanh(normal(2, 3)) ** 2
    np.testing.assert_allclose(found[0], np.ones((2, 4)) @ linear().weight.data.T * slope)


# Layers with several outputs


class Halves(nn.Layer):
    def forward(self, x: Any) -> Any:
        return self.apply(ops.split, x, sizes=(2, 3), axis=-1)


def test_a_layer_may_have_several_outputs_by_hand_and_on_the_tape() -> None:
    layer, x, left, right = Halves(), normal(3, 5), normal(3, 2, seed=2), normal(3, 3, seed=3)
    a, b = layer(x)
    np.testing.assert_array_equal(a, x[:, :2])
    np.testing.assert_array_equal(b, x[:, 2:])
    np.testing.assert_array_equal(layer.backward((left, right)), np.concatenate([left, right], axis=1))
    layer(x)
    np.testing.assert_array_equal(layer.backward((None, right)), np.concatenate([0 * left, right], axis=1))
    layer(x)
    with pytest.raises(ValueError, match=r"Halves: backward takes ∂L/∂output of shape \(3, 2\), not \(3, 3\)"):
        layer.backward((right, left))
    tensor = Tensor(x, requires_grad=True)
    a, b = layer(tensor)
    ((a * left).sum() + (b * right).sum()).backward()
    np.testing.assert_array_equal(tensor.grad, np.concatenate([left, right], axis=1))
