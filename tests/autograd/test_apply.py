"""A user's own pair of functions: as a function and as a layer, by hand and on the tape; and what it must not do."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad import Tensor, nn, ops
from handgrad.backend import watching
from handgrad.checking import central_differences

Array = np.ndarray
X = np.random.default_rng(5).standard_normal((2, 3, 5))
BETA = np.random.default_rng(6).standard_normal(5)
R = np.random.default_rng(7).standard_normal((2, 3, 5))


def swish(x: Array, beta: Array, *, scale: float = 1.0) -> tuple[Array, tuple]:
    """scale · x · σ(beta x)."""
    s = 1 / (1 + np.exp(-beta * x))
    return scale * x * s, (x, beta, s, scale)


def swish_backward(dy: Array, saved: tuple) -> tuple[Array, Array]:
    x, beta, s, scale = saved
    d = scale * dy
    return d * (s + beta * x * s * (1 - s)), (d * x * x * s * (1 - s)).sum(axis=(0, 1))


PAIR = (swish, swish_backward)


def halves(x: Array) -> tuple[tuple[Array, Array], tuple[int, ...]]:
    """Two outputs: the sum and the difference of the first two rows."""
    return (x[0] + x[1], x[0] - x[1]), x.shape


def halves_backward(dys: tuple[Array, Array], shape: tuple[int, ...]) -> Array:
    d_sum, d_difference = dys
    dx = np.zeros(shape, d_sum.dtype)
    dx[0], dx[1] = d_sum + d_difference, d_sum - d_difference
    return dx


class Swish(nn.Layer):
    def __init__(self, width: int, dtype: Any = np.float64) -> None:
        self.beta = nn.Parameter(BETA[:width].astype(dtype))

    def forward(self, x: Any) -> Any:
        return self.apply(PAIR, x, self.beta, scale=2.0)


def slopes(scale: float) -> tuple[Array, Array]:
    x, beta = X.copy(), BETA.copy()

    def loss() -> float:
        return float((swish(x, beta, scale=scale)[0] * R).sum())

    return central_differences(loss, x), central_differences(loss, beta)


def test_on_the_tape_its_gradients_are_those_of_its_backward() -> None:
    x, beta = (Tensor(array, requires_grad=True) for array in (X, BETA))
    y = handgrad.apply(PAIR, x, beta, scale=2.0)
    np.testing.assert_array_equal(y.data, swish(X, BETA, scale=2.0)[0])
    (y * R).sum().backward()
    by_hand = swish_backward(R, swish(X, BETA, scale=2.0)[1])
    for tensor, gradient, numeric in zip((x, beta), by_hand, slopes(2.0), strict=True):
        assert tensor.grad is not None
        np.testing.assert_array_equal(tensor.grad, gradient)
        np.testing.assert_allclose(tensor.grad, numeric, atol=1e-9)


def test_it_may_stand_between_operations_and_be_used_twice() -> None:
    x = Tensor(X, requires_grad=True)
    once = handgrad.exp(handgrad.apply(PAIR, x.tanh(), BETA))
    (once * handgrad.apply(PAIR, x, BETA)).sum().backward()
    moved = X.copy()

    def loss() -> float:
        return float((np.exp(swish(np.tanh(moved), BETA)[0]) * swish(moved, BETA)[0]).sum())

    np.testing.assert_allclose(x.grad, central_differences(loss, moved), rtol=1e-8, atol=1e-9)


def test_called_with_arrays_it_returns_an_array() -> None:
    y = handgrad.apply(PAIR, X, BETA)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, swish(X, BETA)[0])
    first, second = handgrad.apply((halves, halves_backward), X)
    np.testing.assert_allclose(first - second, 2 * X[1])


def test_an_operation_of_ours_may_stand_for_its_pair() -> None:
    np.testing.assert_array_equal(handgrad.apply(ops.tanh, X), np.tanh(X))
    assert isinstance(handgrad.apply(ops.tanh, Tensor(X)), Tensor)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_runs_it_by_hand_and_on_the_tape(dtype: Any) -> None:
    layer, x = Swish(5, dtype), X.astype(dtype)
    y = layer(x)
    dx = layer.backward(R.astype(dtype))
    by_hand = layer.beta.grad
    assert by_hand is not None
    assert {y.dtype, dx.dtype, by_hand.dtype} == {np.dtype(dtype)}
    if dtype == np.float64:
        for gradient, numeric in zip((dx, by_hand), slopes(2.0), strict=True):
            np.testing.assert_allclose(gradient, numeric, atol=1e-9)
    layer.zero_grad()
    on_tape = Tensor(x, requires_grad=True)
    out = layer(on_tape)
    np.testing.assert_array_equal(out.data, y)
    (out * R.astype(dtype)).sum().backward()
    np.testing.assert_array_equal(on_tape.grad, dx)
    np.testing.assert_array_equal(layer.beta.grad, by_hand)


def test_a_layer_trains_in_a_model_by_hand() -> None:
    net = nn.Sequential(nn.Linear(5, 5), Swish(5, np.float32), nn.Linear(5, 1))
    y = net(X.astype(np.float32))
    dx = net.backward(np.ones_like(y))
    by_hand = {name: p.grad for name, p in net.named_parameters()}
    assert "1.beta" in by_hand
    net.zero_grad()
    x = handgrad.tensor(X.astype(np.float32), requires_grad=True)
    net(x).sum().backward()
    np.testing.assert_allclose(dx, x.grad, rtol=1e-6)
    for name, p in net.named_parameters():
        np.testing.assert_allclose(p.grad, by_hand[name], rtol=1e-5, atol=1e-6)


def test_several_outputs_and_one_that_nobody_uses() -> None:
    pair = (halves, halves_backward)
    x = Tensor(X, requires_grad=True)
    total, difference = handgrad.apply(pair, x)
    (total * R[0] + difference * R[1]).sum().backward()
    np.testing.assert_array_equal(x.grad, halves_backward((R[0], R[1]), X.shape))
    x.zero_grad()
    handgrad.apply(pair, x)[1].sum().backward()  # the backward gets zeros for the other output
    np.testing.assert_array_equal(x.grad, np.stack([np.ones((3, 5)), -np.ones((3, 5))]))


def test_inputs_become_floats_of_one_dtype_and_options_stay_as_they_are() -> None:
    seen: list[Any] = []

    def scaled(x: Array, factor: Array, ids: Any = None) -> tuple[Array, tuple]:
        seen.append((x.dtype, factor.dtype, ids))
        return x * factor, (x, factor)

    def scaled_backward(dy: Array, saved: tuple) -> tuple[Array, Array]:
        return dy * saved[1], (dy * saved[0]).sum()

    ids = handgrad.tensor([1, 2])
    for x in (handgrad.ones(3), np.ones(3, np.int64)):
        y = handgrad.apply((scaled, scaled_backward), x, 2.0, ids=ids)
        assert y.dtype == np.float32
    assert [(str(a), str(b)) for a, b, _ in seen] == [("float32", "float32")] * 2
    np.testing.assert_array_equal(seen[0][2], [1, 2])
    assert type(seen[0][2]) is np.ndarray


@pytest.mark.parametrize("name", ["layer", "operation", "inputs", "options", "wanted", "self"])
def test_an_option_may_have_any_name(name: str) -> None:
    def scaled(x: Array, **options: float) -> tuple[Array, float]:
        return x * options[name], options[name]

    def scaled_backward(dy: Array, factor: float) -> Array:
        return dy * factor

    x = Tensor(X, requires_grad=True)
    handgrad.apply((scaled, scaled_backward), x, **{name: 3.0}).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(X.shape, 3.0))
    np.testing.assert_array_equal(handgrad.apply((scaled, scaled_backward), X, **{name: 3.0}), 3 * X)


def test_an_optional_input_may_be_left_out() -> None:
    def shifted(x: Array, shift: Array | None = None) -> tuple[Array, bool]:
        return (x.copy() if shift is None else x + shift), shift is not None

    def shifted_backward(dy: Array, has_shift: bool) -> tuple[Array, Array | None]:
        return dy, dy.sum(axis=(0, 1)) if has_shift else None

    x, shift = Tensor(X, requires_grad=True), Tensor(BETA, requires_grad=True)
    for inputs in ((x,), (x, None), (x, shift)):
        x.zero_grad()
        handgrad.apply((shifted, shifted_backward), *inputs).sum().backward()
        np.testing.assert_array_equal(x.grad, np.ones(X.shape))
    np.testing.assert_array_equal(shift.grad, np.full(5, 6.0))


def test_watchers_see_it_under_its_name_with_its_layer() -> None:
    seen: list[tuple[str, bool, object]] = []

    def note(call: Any, run: Callable[[], Any]) -> Any:
        seen.append((call.operation, call.is_backward, call.layer))
        return run()

    layer = Swish(5)
    with watching(note):
        layer.backward(np.ones_like(layer(X)))
    assert seen == [("swish", False, layer), ("swish", True, layer)]


@pytest.mark.parametrize("container", [tuple, list, lambda arrays: dict(enumerate(arrays))])
def test_the_tape_notices_a_change_of_what_was_saved(container: Callable[[list[Array]], Any]) -> None:
    def squared(x: Array) -> tuple[Array, Any]:
        return x * x, container([x])

    def squared_backward(dy: Array, saved: Any) -> Array:
        return 2 * dy * saved[0]

    leaf = Tensor(X, requires_grad=True)
    x = leaf * 1.0
    y = handgrad.apply((squared, squared_backward), x).sum()
    x += 1.0
    with pytest.raises(RuntimeError, match="squared saved a tensor that was changed in place"):
        y.backward()


def test_an_output_is_never_a_view_of_an_input_and_a_gradient_never_one_of_dy() -> None:
    def same(x: Array) -> tuple[Array, tuple]:
        return x, ()

    def same_backward(dy: Array, saved: tuple) -> Array:
        return dy

    class Same(nn.Layer):
        def forward(self, x: Any) -> Any:
            return self.apply((same, same_backward), x)

    layer, dy = Same(), np.ones((2, 3, 5))
    y = layer(X)
    dx = layer.backward(dy)
    y += 1
    dx += 1
    assert not np.shares_memory(y, X)
    np.testing.assert_array_equal(dy, np.ones((2, 3, 5)))
    leaf = Tensor(X, requires_grad=True)
    out = handgrad.apply((same, same_backward), leaf)
    out += 1.0  # of a view, this would be an error
    out.sum().backward()
    np.testing.assert_array_equal(leaf.grad, np.ones(X.shape))


def forward_that(returns: Callable[[Array], Any]) -> Any:
    def f(x: Array, w: Array) -> Any:
        return returns(x)

    return f


def backward_that(returns: Callable[[Array], Any]) -> Any:
    def f_backward(dy: Array, saved: Any) -> Any:
        return returns(dy)

    return f_backward


def both(f: Any, f_backward: Any) -> list[Callable[[], Any]]:
    """The pair in use: on the tape and by hand in a layer."""

    class Own(nn.Layer):
        def __init__(self) -> None:
            self.w = nn.Parameter(BETA)

        def forward(self, x: Any) -> Any:
            return self.apply((f, f_backward), x, self.w)

    layer = Own()
    return [
        lambda: handgrad.apply((f, f_backward), Tensor(X, requires_grad=True), Tensor(BETA)).sum().backward(),
        lambda: layer.backward(np.ones_like(layer(X))),
    ]


def in_place(x: Array) -> Any:
    x += 1
    return x, ()


RIGHT = backward_that(lambda dy: (dy * 1, dy.sum(axis=(0, 1))))
WRONG = {
    "no pair": (lambda x: x * 1, "f must return a pair, (output, saved), not an array of float64 of shape (2, 3, 5)"),
    "three": (lambda x: (x, x, x), "f must return a pair, (output, saved), not a tuple of 3"),
    "nothing": (lambda x: None, "f must return a pair, (output, saved), not None"),
    "a list": (lambda x: (x.tolist(), ()), "f must return an output of float32 or float64, not a list"),
    "integers": (
        lambda x: (x.astype(np.int64), ()),
        "f must return an output of float32 or float64, not an array of int64 of shape (2, 3, 5)",
    ),
    "half": (lambda x: (x.astype(np.float16), ()), "not an array of float16 of shape (2, 3, 5)"),
    "one of two": (lambda x: ((x * 1, 3), ()), "f must return an output of float32 or float64, not an int"),
    "in place": (in_place, "f writes into an array that it was given (output array is read-only)"),
    "an item": (lambda x: x.fill(0), "f writes into an array that it was given (assignment destination is read-only)"),
}
WRONG_BACKWARD = {
    "too few": (lambda dy: dy, "f_backward returns 1 gradient; 2 are needed, for x, w"),
    "too many": (lambda dy: (dy, dy[0, 0], dy), "f_backward returns 3 gradients; 2 are needed, for x, w"),
    "not summed": (
        lambda dy: (dy, dy),
        "f_backward returns a gradient of shape (2, 3, 5) for w, whose shape is (5,); sum it over the axes along "
        "which the input was repeated",
    ),
    "transposed": (
        lambda dy: (dy.swapaxes(0, 1), dy[0, 0]),
        "f_backward returns a gradient of shape (3, 2, 5) for x, whose shape is (2, 3, 5)",
    ),
    "wide": (
        lambda dy: (dy.astype(np.float32), dy[0, 0]),
        "f_backward returns a gradient of float32 for x, which is float64; it must keep the dtype",
    ),
    "a string": (lambda dy: ("dx", dy), "f_backward must return an array as the gradient for x, not a str"),
    "in place": (
        lambda dy: (dy.__imul__(2), dy[0, 0]),
        "f_backward writes into an array that it was given (output array is read-only); let it make a new array",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_forward_that_breaks_the_contract_is_named(wrong: str) -> None:
    returns, sentence = WRONG[wrong]
    for use in both(forward_that(returns), RIGHT):
        with pytest.raises((TypeError, ValueError), match=re.escape(sentence)):
            use()


@pytest.mark.parametrize("wrong", WRONG_BACKWARD)
def test_a_backward_that_breaks_the_contract_is_named(wrong: str) -> None:
    returns, sentence = WRONG_BACKWARD[wrong]
    for use in both(forward_that(lambda x: (x * 1, ())), backward_that(returns)):
        with pytest.raises((TypeError, ValueError), match=re.escape(sentence)):
            use()


def test_a_gradient_of_none_is_no_gradient() -> None:
    for use in both(forward_that(lambda x: (x * 1, ())), backward_that(lambda dy: (dy, None))):
        use()
    x, w = Tensor(X, requires_grad=True), Tensor(BETA, requires_grad=True)
    pair = (forward_that(lambda x: (x * 1, ())), backward_that(lambda dy: (dy, None)))
    handgrad.apply(pair, x, w).sum().backward()
    assert w.grad is None
    np.testing.assert_array_equal(x.grad, np.ones(X.shape))


def relu(x: Array) -> tuple[Array, tuple]:
    """Not ours, in spite of its name."""
    return x * 2, ()


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        (swish, "apply: swish is no operation of handgrad.ops; pass it with its backward, (swish, swish_backward)"),
        (relu, "apply: relu is no operation of handgrad.ops"),
        ("swish", "apply: an operation is a pair of functions, (f, f_backward), not a str"),
        ([swish, swish_backward], "apply: an operation is a pair of functions, (f, f_backward), not a list"),
        ((swish,), "apply: a pair is two functions, (f, f_backward), not (a function)"),
        ((swish, None), "apply: a pair is two functions, (f, f_backward), not (a function, None)"),
    ],
)
def test_what_is_no_pair_is_named(operation: Any, sentence: str) -> None:
    class Own(nn.Layer):
        def forward(self, x: Any) -> Any:
            return self.apply(operation, x)

    for use in (lambda: handgrad.apply(operation, X), lambda: handgrad.apply(operation, Tensor(X)), lambda: Own()(X)):
        with pytest.raises(TypeError, match=re.escape(sentence)):
            use()


def test_an_error_of_the_user_is_the_users() -> None:
    def broken(x: Array) -> Any:
        raise ValueError("shapes (2,) and (3,) do not fit")

    with pytest.raises(ValueError, match=r"^shapes \(2,\) and \(3,\) do not fit$"):
        handgrad.apply((broken, swish_backward), X)


def test_an_option_that_requires_a_gradient_is_refused() -> None:
    with pytest.raises(RuntimeError, match="swish: scale requires a gradient, but gets none here"):
        handgrad.apply(PAIR, Tensor(X), BETA, scale=handgrad.tensor(2.0, requires_grad=True))
    with pytest.raises(TypeError, match="apply: an operation needs at least one differentiable input"):
        handgrad.apply(PAIR, scale=2.0)
