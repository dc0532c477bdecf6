"""Each token with a share of the one before it: the definition on small numbers, and the compiled twin beside it."""

from typing import Any

import numpy as np
import pytest
from comparing import assert_as_good_as_the_text, assert_close, both_ways, kernels

from handgrad import nn, ops
from handgrad.system.arrays import Array

SHAPES = [(3, 5), (1, 1), (2, 7, 37), (3, 2, 9, 16), (64, 128), (1, 5), (4, 1, 3), (0, 4), (2, 0, 3), (0, 6, 3), (5, 0)]
Shape = tuple[int, ...]


def single(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def before_of(x: Array) -> Array:
    return single(*x.shape[:-2], x.shape[-1], seed=5)


@pytest.mark.parametrize("module", [ops, kernels], ids=["ops", "kernels"])
def test_numbers_that_one_can_follow(module: Any) -> None:
    x = np.array([[[1, 10], [2, 20], [3, 30]], [[4, 40], [5, 50], [6, 60]]], np.float32)
    weight, before = np.array([0.5, 2], np.float32), np.array([[100, 7], [0, 1]], np.float32)
    dy = np.array([[[1, 1], [10, 10], [100, 100]], [[2, 2], [20, 20], [200, 200]]], np.float32)
    y, saved = module.token_shift(x, weight)
    dx, d_weight = module.token_shift_backward(dy, saved)
    np.testing.assert_array_equal(y[0], [[1, 10], [2.5, 40], [4, 70]])
    np.testing.assert_array_equal(y[1], [[4, 40], [7, 130], [8.5, 160]])
    np.testing.assert_array_equal(dx[0], [[6, 21], [60, 210], [100, 100]])
    np.testing.assert_array_equal(dx[1], [[12, 42], [120, 420], [200, 200]])
    np.testing.assert_array_equal(d_weight, [10 + 200 + 80 + 1000, 100 + 2000 + 800 + 10000])
    y, saved = module.token_shift(x, weight, before)
    np.testing.assert_array_equal(y[:, 0], [[51, 24], [4, 42]])
    again, d_weight = module.token_shift_backward(dy, saved)
    np.testing.assert_array_equal(again, dx)
    np.testing.assert_array_equal(d_weight, [1290 + 100, 12900 + 7 + 2])


@pytest.mark.parametrize("has_before", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_gives_what_the_text_gives(shape: Shape, has_before: bool) -> None:
    inputs = [single(*shape), single(shape[-1])]
    options = {"before": before_of(inputs[0])} if has_before else {}
    both = [both_ways(module, "token_shift", inputs, **options) for module in (kernels, ops)]
    for a, b in zip(*both, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("size", [1, 3, 7, 128])
def test_extreme_numbers(size: int) -> None:
    x, weight = single(2, 6, size), single(size)
    for large in map(np.float32, (1e4, -1e4, 1e8, -1e8)):
        for inputs in ([x * large, weight], [x + large, weight], [np.full_like(x, large), weight], [x, weight * large]):
            assert_as_good_as_the_text("token_shift", inputs)
    for special in map(np.float32, (np.nan, np.inf, -np.inf, 1e4, -1e4, 1e8, -1e8, -0.0, 1e-38)):
        for t in (0, 2, 5):  # the first token, one inside, and the last, which only itself uses
            changed = x.copy()
            changed[0, t, 0] = special
            assert_as_good_as_the_text("token_shift", [changed, weight])
        changed = weight.copy()
        changed[0] = special
        assert_as_good_as_the_text("token_shift", [x, changed])


@pytest.mark.parametrize("special", [np.nan, np.inf, 1e8])
def test_no_number_reaches_another_text_or_an_earlier_token(special: float) -> None:
    x, weight, dy = single(3, 4, 5), single(5), single(3, 4, 5, seed=1)
    for module in (ops, kernels):
        plain, saved = module.token_shift(x, weight)
        d_plain, _ = module.token_shift_backward(dy, saved)
        for t in range(4):
            changed, d_changed = x.copy(), dy.copy()
            changed[1, t], d_changed[1, t] = special, special
            differs = (module.token_shift(changed, weight)[0] != plain).any(axis=-1)
            assert np.argwhere(differs).tolist() == [[1, s] for s in (t, t + 1) if s < 4]
            with np.errstate(invalid="ignore"):  # infinity times 0 in the gradient of the weight
                differs = (module.token_shift_backward(d_changed, saved)[0] != d_plain).any(axis=-1)
            assert np.argwhere(differs).tolist() == [[1, s] for s in (t - 1, t) if s >= 0]


def test_a_text_in_pieces_is_the_whole_text() -> None:
    x, weight = single(2, 9, 5), single(5)
    for module in (ops, kernels):
        whole, _ = module.token_shift(x, weight)
        first, _ = module.token_shift(x[:, :4], weight)
        rest, _ = module.token_shift(x[:, 4:], weight, x[:, 3])
        np.testing.assert_array_equal(np.concatenate([first, rest], axis=1), whole)


def test_views_give_what_their_copies_give() -> None:
    x, weight, before = single(4, 6, 10)[::-1, ::2, 1::3], single(6)[::2], single(8, 3)[::2]
    views, copies = [x, weight], [x.copy(), weight.copy()]
    pairs = zip(
        both_ways(kernels, "token_shift", views, before=before),
        both_ways(kernels, "token_shift", copies, before=before.copy()),
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_the_gradient_of_the_weight_is_added_where_it_belongs() -> None:
    x, weight, dy = single(2, 4, 8), single(8), single(2, 4, 8, seed=1)
    _, saved = kernels.token_shift(x, weight)
    dx, d_weight = kernels.token_shift_backward(dy, saved)
    there = np.ones(8, np.float32)
    again, added = kernels.token_shift_backward(dy, saved, (None, there))
    assert added is there
    np.testing.assert_array_equal(again, dx)
    np.testing.assert_allclose(there, 1 + d_weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("module", [ops, kernels], ids=["ops", "kernels"])
def test_what_does_not_fit_is_refused(module: Any) -> None:
    x, weight = single(2, 4, 8), single(8)
    with pytest.raises(ValueError, match=r"token_shift: x must have shape \(\.\.\., T, C\), not \(8,\)"):
        module.token_shift(weight, weight)
    for wrong in (weight[:1], x[0, :1]):
        with pytest.raises(ValueError, match=r"weight must have shape \(8,\), as x is \(2, 4, 8\), not \("):
            module.token_shift(x, wrong)
    for wrong in (weight, x[:1, 0], x[:, :1], x[:, 0, :7]):
        with pytest.raises(ValueError, match=r"before must have shape \(2, 8\), as x is \(2, 4, 8\), not \("):
            module.token_shift(x, weight, wrong)


def test_the_layer_begins_as_the_identity() -> None:
    x, layer = single(2, 4, 8), nn.TokenShift(8)
    assert (layer.weight.role, layer.weight.shape) == ("vector", (8,))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, single(2, 8)), x)
    dy = single(2, 4, 8, seed=1)
    np.testing.assert_array_equal(layer.backward(dy), dy)
    np.testing.assert_allclose(
        layer.weight.grad,
        ops.token_shift_backward(dy, ops.token_shift(x, layer.weight.data, single(2, 8))[1])[1],
        rtol=0,
        atol=1e-5,
    )
