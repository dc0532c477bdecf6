"""Attention projects, attends and projects; queries and keys may go through modules in between."""

from typing import Any

import numpy as np
import pytest

from handgrad import Tensor, nn, ops, use_backend
from handgrad.checking import relative_error
from handgrad.checking.numerical import central_differences
from handgrad.system.arrays import Array


class Same(nn.Layer):
    """Returns queries or keys unchanged."""

    def forward(self, x: Any) -> Any:
        return self.apply(ops.copy, x)


class Scaled(nn.Module):
    """A learned gain for each component, with its backward by hand; queries and keys each have their own."""

    def __init__(self, head_dim: int) -> None:
        self.norm = nn.LayerNorm(head_dim, dtype=np.float64)

    def forward(self, x: Any) -> Any:
        return self.norm(x)

    def backward(self, dy: Array) -> Array:
        return self.norm.backward(dy)


def attention(between: Any = None, dtype: Any = np.float64, **options: Any) -> nn.MultiHeadAttention:
    modules = {} if between is None else {"on_queries": between(), "on_keys": between()}
    return nn.MultiHeadAttention(12, 3, rng=np.random.default_rng(0), dtype=dtype, **modules, **options)


@pytest.fixture(params=["numpy", "default"])
def backend(request: pytest.FixtureRequest) -> Any:
    use_backend("numpy" if request.param == "numpy" else None)
    yield request.param
    use_backend(None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_fused_operation_is_the_same_attention(dtype: Any, backend: str) -> None:
    fused, between = attention(dtype=dtype), attention(Same, dtype)
    assert isinstance(fused.attend, nn.Attend)
    assert isinstance(between.attend, nn.AttendBetween)
    between.load_state_dict(fused.state_dict())
    rng = np.random.default_rng(1)
    x, dy = (rng.standard_normal((2, 5, 12)).astype(dtype) for _ in range(2))
    mask = rng.random((2, 1, 5, 5)) < 0.8
    same = np.testing.assert_array_equal if backend == "numpy" or dtype == np.float64 else close
    for options in ({}, {"mask": mask}):
        same(between(x, **options), fused(x, **options))
        same(between.backward(dy), fused.backward(dy))
        for ours, theirs in zip(between.parameters(), fused.parameters(), strict=True):
            same(ours.grad, theirs.grad)


def close(a: Array, b: Array) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_what_happens_between_is_differentiated_by_hand_and_on_the_tape() -> None:
    module = attention(lambda: Scaled(4))
    values = np.random.default_rng(5)
    for parameter in module.parameters():
        parameter.data = values.standard_normal(parameter.shape) / 2
    x, r = values.standard_normal((2, 5, 12)), values.standard_normal((2, 5, 12))
    module(x)
    dx = module.backward(r)
    gradients = {name: parameter.grad.copy() for name, parameter in module.named_parameters()}
    assert {"attend.on_queries.norm.weight", "attend.on_keys.norm.weight"} <= set(gradients)

    def loss() -> float:
        y = float((module(x) * r).sum())
        module.forget()
        return y

    assert relative_error(dx, central_differences(loss, x)) < 1e-6
    for name, parameter in module.named_parameters():
        if name != "attend.on_keys.norm.bias":  # shifts all scores of a query by the same amount: its gradient is zero
            assert relative_error(gradients[name], central_differences(loss, parameter.data)) < 1e-6, name
    module.zero_grad()
    tensor = Tensor(x, requires_grad=True)
    module(tensor).backward(r)
    assert relative_error(tensor.grad, dx) <= 1e-12
    for name, parameter in module.named_parameters():
        assert np.abs(parameter.grad - gradients[name]).max() <= 1e-12 * max(1, np.abs(gradients[name]).max()), name


def test_a_rotation_between_changes_what_is_attended_to() -> None:
    """The modules act between the projection and the scores: rotating only the queries changes the scores."""

    class Turned(nn.Layer):
        def forward(self, x: Any) -> Any:
            return self.apply(ops.negative, x)

    plain, turned = attention(Same), attention(Same)
    turned.load_state_dict(plain.state_dict())
    turned.attend.on_queries = Turned()  # type: ignore[union-attr]
    x = np.random.default_rng(1).standard_normal((1, 4, 12))
    q, k, v = np.split(x @ plain.project_in.weight.data + plain.project_in.bias.data, 3, axis=-1)
    heads = [part.reshape(1, 4, 3, 4).swapaxes(1, 2) for part in (-q, k, v)]
    y = ops.attention(*heads)[0].swapaxes(1, 2).reshape(1, 4, 12)
    expected = y @ plain.project_out.weight.data + plain.project_out.bias.data
    np.testing.assert_allclose(turned(x), expected, atol=1e-12)
    assert np.abs(turned(x) - plain(x)).max() > 1e-3


def test_one_module_for_both_is_refused_by_hand_and_fine_on_the_tape() -> None:
    shared = Same()
    module = nn.MultiHeadAttention(12, 3, on_queries=shared, on_keys=shared, dtype=np.float64)
    x = np.ones((1, 4, 12))
    with pytest.raises(RuntimeError, match="Same: forward ran a second time in one pass"):
        module(x)
    module(Tensor(x, requires_grad=True)).sum().backward()


def test_dropout_and_masks_reach_both_forms() -> None:
    for between in (None, Same):
        module = attention(between, dropout=0.5)
        x = np.random.default_rng(1).standard_normal((2, 5, 12))
        module.set_generator(np.random.default_rng(3))
        first = module(x)
        module.set_generator(np.random.default_rng(3))
        np.testing.assert_array_equal(module(x), first)
        module.set_generator(np.random.default_rng(4))
        assert np.abs(module(x) - first).max() > 1e-3
        module.eval()
        np.testing.assert_array_equal(module(x), module(x))


def test_both_modules_must_be_given() -> None:
    with pytest.raises(ValueError, match="on_queries and on_keys must be given together"):
        nn.MultiHeadAttention(12, 3, on_queries=Same())
