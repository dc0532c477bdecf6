"""Reductions on the tape against PyTorch: over any axes, also of zero-size and 0-d tensors."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tape_oracle import DTYPES, FLOATS, SEED, SHAPES, Shape, agree, draw_array, repeatedly

import handgrad

Axes = int | tuple[int, ...] | None


def draw_axes(data: st.DataObject, ndim: int) -> Axes:
    """None, one axis or several, counted from either end."""
    several = st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim) if ndim else st.just([])
    axes = data.draw(st.one_of(st.none(), several.map(tuple)))
    if axes is None:
        return None
    axes = tuple(axis - ndim if data.draw(st.booleans()) else axis for axis in axes)
    return axes[0] if len(axes) == 1 and data.draw(st.booleans()) else axes


def all_of(axes: Axes, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axes is None else (axes,) if isinstance(axes, int) else axes


def draw_over(data: st.DataObject, shape: Shape) -> tuple[Axes, bool]:
    axes = draw_axes(data, len(shape))
    assume(axes != ())  # over no axes NumPy reduces nothing, PyTorch everything
    return axes, data.draw(st.booleans())


def size_over(shape: Shape, axes: Axes) -> int:
    return int(np.prod([shape[axis] for axis in all_of(axes, len(shape))], dtype=int))


@repeatedly
@given(SHAPES, DTYPES, st.data(), SEED)
def test_sum(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    x = draw_array(seed, shape, dtype)
    expected = lambda x: torch.sum(x, all_of(axes, x.ndim), keepdim=keepdims) if x.ndim else x.sum()  # noqa: E731
    agree(lambda x: handgrad.sum(x, axes, keepdims), expected, [x])
    agree(lambda x: x.sum(axis=axes, keepdims=keepdims), expected, [x])


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_mean(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    x = draw_array(seed, shape, dtype)
    agree(
        lambda x: x.mean(axes, keepdims),
        lambda x: torch.mean(x, all_of(axes, x.ndim), keepdim=keepdims) if x.ndim else x.mean(),
        [x],
    )


@pytest.mark.parametrize("name", ["var", "std"])
@repeatedly
@given(SHAPES, FLOATS, st.integers(0, 2), st.data(), SEED)
def test_var_and_std(name: str, shape: Shape, dtype: str, ddof: int, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    assume(size_over(shape, axes) > ddof)  # otherwise a division by 0, tested below
    x = draw_array(seed, shape, dtype)
    agree(
        lambda x: getattr(x, name)(axes, ddof=ddof, keepdims=keepdims),
        lambda x: getattr(torch, name)(x, all_of(axes, x.ndim), correction=ddof, keepdim=keepdims),
        [x],
    )


def test_var_of_too_few_is_not_a_number() -> None:
    for shape, ddof in (((0,), 0), ((1,), 1), ((2, 0), 0)):
        agree(lambda x, d=ddof: x.var(-1, ddof=d), lambda x, d=ddof: torch.var(x, -1, correction=d), [np.ones(shape)])


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_prod_with_zeros(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)

    def oracle(x: torch.Tensor) -> torch.Tensor:
        for axis in sorted((axis % x.ndim for axis in all_of(axes, x.ndim)), reverse=True):
            x = x.prod(axis, keepdim=keepdims)
        return x

    agree(lambda x: x.prod(axes, keepdims), oracle, [draw_array(seed, shape, dtype, rounded=True)])


@pytest.mark.parametrize("name", ["max", "min"])
@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_max_and_min_share_at_ties(name: str, shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    assume(all(shape[axis] for axis in all_of(axes, len(shape))))
    x = draw_array(seed, shape, dtype, rounded=True)
    agree(
        lambda x: getattr(handgrad, name)(x, axes, keepdims),
        lambda x: getattr(torch, "a" + name)(x, all_of(axes, x.ndim), keepdim=keepdims),
        [x],
    )


def test_max_and_min_of_nothing_raise() -> None:
    for function in (handgrad.max, handgrad.min):
        with pytest.raises(ValueError, match="zero-size"):
            function(np.ones((2, 0)), axis=1)
        assert function(np.ones((0, 2)), axis=1).shape == (0,)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@repeatedly
@given(SHAPES, DTYPES, st.data(), SEED)
def test_where_the_largest_is(name: str, shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    assume(0 not in shape and dtype != "bool")
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1))) if shape else None
    x = np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(dtype)  # without ties
    agree(lambda x: getattr(x, name)(axis), lambda x: getattr(x, name)(axis), [x])
    assert getattr(handgrad, name)(handgrad.tensor([1, 3, 3, 1])).item() == {"argmax": 1, "argmin": 0}[name]


@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3, 1.5, float("inf"), float("-inf")])
@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_norm(ord: float | None, shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    assume(all(shape[axis] for axis in all_of(axes, len(shape))))
    if ord is not None:
        assume(shape)
        axes = all_of(axes, len(shape))[0]  # an ord takes one axis only
    x = draw_array(seed, shape, dtype, rounded=True)
    agree(
        lambda x: handgrad.norm(x, ord, axes, keepdims),
        lambda x: torch.linalg.vector_norm(x, 2 if ord is None else ord, axes, keepdim=keepdims),
        [x],
    )


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_logsumexp(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    x = draw_array(seed, shape, dtype) * 40
    dims = all_of(axes, len(shape))
    agree(lambda x: x.logsumexp(axes, keepdims), lambda x: torch.logsumexp(x, dims, keepdim=keepdims), [x])
    agree(lambda x: x.logsumexp(dim=axes, keepdim=True), lambda x: torch.logsumexp(x, dims, keepdim=True), [x])


def test_logsumexp_of_infinities() -> None:
    inf = float("inf")
    for x in ([1.0, inf], [-inf, -inf], [-inf, 0.0], [inf, inf], [inf, -inf]):
        agree(lambda x: x.logsumexp(0), lambda x: x.logsumexp(0), [np.array(x)])


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
@repeatedly
@given(SHAPES, FLOATS, st.booleans(), st.data(), SEED)
def test_running_sums_and_products(
    name: str, shape: Shape, dtype: str, rounded: bool, data: st.DataObject, seed: int
) -> None:
    x = draw_array(seed, shape, dtype, rounded=rounded)
    agree(lambda x: getattr(x, name)(), lambda x: getattr(x.reshape(-1), name)(0), [x])
    if shape:
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        agree(lambda x: getattr(handgrad, name)(x, axis), lambda x: getattr(torch, name)(x, axis), [x])


@pytest.mark.parametrize("name", ["all", "any"])
@repeatedly
@given(SHAPES, DTYPES, st.data(), SEED)
def test_all_and_any(name: str, shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    axes, keepdims = draw_over(data, shape)
    oracle: Any = getattr(torch, name)
    dims = all_of(axes, len(shape))
    agree(
        lambda x: getattr(x, name)(axes, keepdims),
        lambda x: oracle(x, dims, keepdim=keepdims) if dims else oracle(x),
        [draw_array(seed, shape, dtype, rounded=True)],
    )
