"""Watching operations as they run: by hand, on the tape, in every thread, and by several at once."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad import Tensor, backend, nn, no_grad, ops
from handgrad.backend import Call, gradients_of, outputs_of, text_pair, watching
from handgrad.models import GPT, GPTConfig
from handgrad.system import backend_setting

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def _in_numpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backend_setting, "_forced", "numpy")
    yield
    assert backend._watchers == ()


class Notes:
    """Keeps every call and its result."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.results: list[Any] = []

    def __call__(self, call: Call, run: Callable[[], Any]) -> Any:
        result = run()
        self.calls.append(call)
        self.results.append(result)
        return result

    @property
    def names(self) -> list[str]:
        return [call.operation + (" backward" if call.is_backward else "") for call in self.calls]


def test_by_hand_the_layer_is_told() -> None:
    layer, notes = nn.Linear(4, 5, activation="gelu_exact"), Notes()
    with watching(notes):
        y = layer(X)
        dx = layer.backward(np.ones_like(y))
    assert notes.names == ["linear_gelu", "linear_gelu backward"]
    forward, backward = notes.calls
    assert forward.layer is layer
    assert backward.layer is layer
    assert [id(value) for value in forward.inputs] == [id(value) for value in (X, layer.weight.data, layer.bias.data)]
    assert forward.options == {"approximate": "none", "precision": "float32"}
    output, saved = notes.results[0]
    assert output is y
    assert backward.inputs[0].tolist() == np.ones_like(y).tolist()
    assert backward.inputs[1] is saved
    assert notes.results[1][0] is dx
    assert len(notes.results[1]) == 3


def test_on_the_tape_the_layer_is_told_and_functions_of_tensors_have_none() -> None:
    layer, notes = nn.Linear(4, 5), Notes()
    with watching(notes):
        loss = (layer(Tensor(X)) * 2).sum()
        loss.backward()
    assert notes.names == ["linear", "multiply", "sum", "sum backward", "multiply backward", "linear backward"]
    assert [call.layer is layer for call in notes.calls] == [True, False, False, False, False, True]
    assert [call.layer is None for call in notes.calls] == [False, True, True, True, True, False]
    assert notes.calls[0].options == {"wanted": (False, True, True), "precision": "float32"}
    assert notes.results[-1][0] is None


def test_a_single_gradient_is_a_tuple_for_the_watcher_too() -> None:
    notes = Notes()
    with watching(notes):
        Tensor(X, requires_grad=True).tanh().sum().backward()
    assert notes.names == ["tanh", "sum", "sum backward", "tanh backward"]
    assert [len(gradients) for gradients in notes.results[2:]] == [1, 1]


def test_changes_in_place_of_a_view_are_seen() -> None:
    notes = Notes()
    with watching(notes):
        x = Tensor(X, requires_grad=True) * 1
        row = x[0]
        row += 1
        (row.sum() + x.sum()).backward()
    for name in ("with_view", "view_of"):
        assert {name, f"{name} backward"} <= set(notes.names)


def test_watchers_nest_and_the_last_is_the_outermost() -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[Call, Callable[[], Any]], Any]:
        def watch(call: Call, run: Callable[[], Any]) -> Any:
            order.append(f"({name}")
            result = run()
            order.append(f"{name})")
            return result

        return watch

    layer = nn.ReLU()
    with watching(noting("a")):
        with watching(noting("b")), no_grad():
            layer(X)
        assert order == ["(b", "(a", "a)", "b)"]
        order.clear()
        with no_grad():
            layer(X)
        assert order == ["(a", "a)"]
    order.clear()
    layer(X)
    assert order == []


def test_one_watcher_may_watch_twice_and_leave_in_any_order() -> None:
    notes, other = Notes(), Notes()
    first, second, third = watching(notes), watching(other), watching(notes)
    layer = nn.ReLU()
    with no_grad():
        for entered in (first, second, third):
            entered.__enter__()
        for left in (first, third, second):
            layer(X)
            left.__exit__(None, None, None)
    assert (len(notes.calls), len(other.calls)) == (2 + 1, 3)


def test_what_a_watcher_returns_takes_the_place() -> None:
    """A later watcher sees the result of an earlier one, and so does the layer."""

    def spoil(call: Call, run: Callable[[], Any]) -> Any:
        if call.is_backward:
            return tuple(np.full_like(gradient, 7) for gradient in run())
        output, saved = run()
        return output + 100, saved

    layer, notes = nn.Linear(4, 5), Notes()
    with no_grad():
        right = layer(X)
    with watching(spoil), watching(notes):
        y = layer(X)
        dx = layer.backward(1.0)
    np.testing.assert_array_equal(y, right + 100)
    assert notes.results[0][0] is y
    assert (dx == 7).all()
    assert (layer.weight.grad == 7).all()


def test_a_watcher_that_raises_watches_no_longer() -> None:
    def fail(call: Call, run: Callable[[], Any]) -> Any:
        raise KeyError(call.operation)

    with pytest.raises(KeyError, match="relu"), watching(fail):
        nn.ReLU()(X)
    assert nn.ReLU()(X).shape == X.shape


def test_operations_of_all_threads_are_watched() -> None:
    notes, layers = Notes(), [nn.Linear(4, 4) for _ in range(4)]

    def work(layer: nn.Linear) -> None:
        layer(X)
        layer.backward(1.0)

    with watching(notes):
        threads = [threading.Thread(target=work, args=(layer,)) for layer in layers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(notes.names) == ["linear"] * 4 + ["linear backward"] * 4
    for layer in layers:
        assert [call.is_backward for call in notes.calls if call.layer is layer] == [False, True]


def test_a_backward_is_watched_though_its_forward_was_not() -> None:
    layer, notes = nn.Linear(4, 5), Notes()
    layer(X)
    loss = layer(Tensor(X)).sum()
    with watching(notes):
        layer.backward(1.0)
        loss.backward()
    assert notes.names == ["linear backward", "sum backward", "linear backward"]
    assert [call.layer is layer for call in notes.calls] == [True, False, True]


def test_a_gpt_is_seen_whole_by_hand_and_on_the_tape_and_computes_the_same() -> None:
    config = GPTConfig(vocab_size=11, block_size=6, n_layer=2, n_head=2, n_embd=8)
    ids = np.random.default_rng(0).integers(0, 11, (2, 6))
    model, plain = GPT(config), GPT(config)
    expected = plain.loss(ids, ids)
    plain.backward()
    layers = {id(module) for module in model.modules() if isinstance(module, nn.Layer)}
    by_hand, taped = Notes(), Notes()
    with watching(by_hand):
        assert model.loss(ids, ids) == expected
        model.backward()
    np.testing.assert_array_equal(model.arena.grad, plain.arena.grad)
    with watching(taped):
        model.loss(handgrad.tensor(ids), handgrad.tensor(ids)).backward()
    for notes in (by_hand, taped):
        for is_backward in (False, True):
            seen = [id(call.layer) for call in notes.calls if call.is_backward is is_backward and call.layer]
            assert len(seen) == len(layers)
            assert set(seen) == layers
    assert all(call.layer is not None for call in by_hand.calls)


def test_whoever_runs_a_pair_without_a_layer_is_watched_too() -> None:
    notes, pair = Notes(), text_pair(ops.tanh)
    with watching(notes):
        y, saved = outputs_of(pair, [X], {})
        (dx,) = gradients_of(pair, np.ones_like(y), saved)
    assert notes.names == ["tanh", "tanh backward"]
    assert [call.layer for call in notes.calls] == [None, None]
    np.testing.assert_allclose(dx, 1 - np.tanh(X) ** 2, rtol=1e-6)
