"""Shapes, joining, cutting, picking and putting, on the tape, against PyTorch."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tape_oracle import DTYPES, FLOATS, FULL_SHAPES, SEED, SHAPES, Shape, agree, broadcastable, draw_array, repeatedly

import handgrad


def axis_of(data: st.DataObject, ndim: int) -> int:
    return data.draw(st.integers(-ndim, ndim - 1))


@repeatedly
@given(SHAPES, DTYPES, st.data(), SEED)
def test_reshape_and_view(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    wanted = data.draw(st.permutations(shape))
    if data.draw(st.booleans()) and len(wanted) > 1:
        wanted = [math.prod(wanted[:2]), *wanted[2:]]
    if wanted and 0 not in shape and data.draw(st.booleans()):
        wanted[data.draw(st.integers(0, len(wanted) - 1))] = -1
    agree(lambda x: x.reshape(*wanted), lambda x: x.reshape(tuple(wanted)), [x])
    agree(lambda x: handgrad.reshape(x, tuple(wanted)), lambda x: x.reshape(tuple(wanted)), [x])
    agree(lambda x: x.view(*wanted), lambda x: x.view(tuple(wanted)), [x])


def test_view_refuses_what_needs_a_copy() -> None:
    x = handgrad.arange(6).view(2, 3)
    with pytest.raises(RuntimeError, match=r"use reshape\(\), or contiguous\(\) before view\(\)"):
        x.T.view(6)
    assert x.T.reshape(6).tolist() == x.T.contiguous().view(6).tolist() == [0, 3, 1, 4, 2, 5]
    x.view(6)[0] = 7
    assert x[0, 0].item() == 7


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_flatten(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    agree(lambda x: x.flatten(), lambda x: x.flatten(), [x])
    if shape:
        start = data.draw(st.integers(0, len(shape) - 1))
        end = data.draw(st.integers(start, len(shape) - 1))
        agree(lambda x: x.flatten(start, end - len(shape)), lambda x: x.flatten(start, end), [x])


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_axes_in_another_order(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    order = data.draw(st.permutations(range(len(shape))))
    agree(lambda x: x.permute(*order), lambda x: x.permute(tuple(order)), [x])
    agree(lambda x: handgrad.permute(x, tuple(order)), lambda x: x.permute(tuple(order)), [x])
    agree(lambda x: x.transpose(tuple(order)), lambda x: x.permute(tuple(order)), [x])
    reverse = tuple(reversed(range(len(shape))))
    agree(lambda x: x.T, lambda x: x.permute(reverse), [x])
    agree(lambda x: x.transpose(), lambda x: x.permute(reverse), [x])
    if shape:
        i, j = axis_of(data, len(shape)), axis_of(data, len(shape))
        agree(lambda x: x.transpose(i, j), lambda x: x.transpose(i, j), [x])
        agree(lambda x: x.swapaxes(i, j), lambda x: x.swapaxes(i, j), [x])


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_axes_of_size_1(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    agree(lambda x: x.squeeze(), lambda x: x.squeeze(), [x])
    at = axis_of(data, len(shape) + 1)
    agree(lambda x: x.unsqueeze(at), lambda x: x.unsqueeze(at), [x])
    agree(lambda x: x.expand_dims(at), lambda x: x.unsqueeze(at), [x])
    agree(lambda x: x.unsqueeze(at).squeeze(at), lambda x: x.clone(), [x])
    for axis, size in enumerate(shape):
        if size != 1:
            with pytest.raises(ValueError, match="does not have size 1"):
                handgrad.tensor(x).squeeze(axis)


@repeatedly
@given(broadcastable(2), FLOATS, SEED)
def test_broadcast_to(shapes: list[Shape], dtype: str, seed: int) -> None:
    shape = np.broadcast_shapes(*shapes)
    agree(lambda x: x.broadcast_to(shape), lambda x: x.broadcast_to(shape), [draw_array(seed, shapes[0], dtype)])


@repeatedly
@given(SHAPES, FLOATS, st.integers(0, 3), st.data(), SEED)
def test_repeat(shape: Shape, dtype: str, times: int, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    agree(lambda x: x.repeat(times), lambda x: x.reshape(-1).repeat_interleave(times, 0), [x])
    if shape:
        axis = axis_of(data, len(shape))
        agree(lambda x: x.repeat(times, axis), lambda x: x.repeat_interleave(times, axis), [x])
        each = np.random.default_rng(seed).integers(0, 3, shape[axis])
        agree(
            lambda x: x.repeat(each.tolist() or each, axis=axis),
            lambda x: x.repeat_interleave(torch.tensor(each), axis),
            [x],
        )


@repeatedly
@given(FULL_SHAPES, FLOATS, st.lists(st.integers(0, 3), min_size=1, max_size=3), st.data(), SEED)
def test_cat_and_concatenate(shape: Shape, dtype: str, sizes: list[int], data: st.DataObject, seed: int) -> None:
    axis = axis_of(data, len(shape))
    shapes = [tuple(size if i == axis % len(shape) else n for i, n in enumerate(shape)) for size in sizes]
    arrays = [draw_array(seed + i, s, dtype) for i, s in enumerate(shapes)]
    agree(lambda *xs: handgrad.cat(xs, dim=axis), lambda *xs: torch.cat(xs, axis), arrays)
    agree(lambda *xs: handgrad.cat(xs, axis=axis), lambda *xs: torch.cat(xs, axis), arrays)
    agree(lambda *xs: handgrad.concatenate(xs, axis=axis), lambda *xs: torch.cat(xs, axis), arrays)
    flat = lambda *xs: torch.cat([x.reshape(-1) for x in xs])  # noqa: E731
    agree(lambda *xs: handgrad.concatenate(xs, axis=None), flat, arrays)


@repeatedly
@given(SHAPES, FLOATS, st.integers(1, 3), st.data(), SEED)
def test_stack(shape: Shape, dtype: str, count: int, data: st.DataObject, seed: int) -> None:
    axis = axis_of(data, len(shape) + 1)
    arrays = [draw_array(seed + i, shape, dtype) for i in range(count)]
    agree(lambda *xs: handgrad.stack(xs, axis), lambda *xs: torch.stack(xs, axis), arrays)
    agree(lambda *xs: handgrad.stack(xs, dim=axis), lambda *xs: torch.stack(xs, axis), arrays)


def test_joining_nothing_raises() -> None:
    for join in (handgrad.cat, handgrad.concatenate, handgrad.stack):
        with pytest.raises(ValueError, match="at least one tensor"):
            join([])


@repeatedly
@given(SHAPES, FLOATS, st.integers(1, 5), st.data(), SEED)
def test_split_and_chunk(shape: Shape, dtype: str, count: int, data: st.DataObject, seed: int) -> None:
    assume(shape)
    x, axis = draw_array(seed, shape, dtype), axis_of(data, len(shape))
    agree(lambda x: x.split(count, dim=axis), lambda x: x.split(count, axis), [x])
    agree(lambda x: x.chunk(count, dim=axis), lambda x: x.chunk(count, axis), [x])
    cuts = sorted(data.draw(st.lists(st.integers(0, shape[axis]), max_size=3)))
    sizes = np.diff([0, *cuts, shape[axis]]).tolist()
    agree(lambda x: handgrad.split(x, sizes, axis=axis), lambda x: x.split(sizes, axis), [x])
    # Only some of the pieces reach the loss.
    agree(lambda x: x.split(sizes, axis)[-1], lambda x: x.split(sizes, axis)[-1], [x])


@repeatedly
@given(st.lists(st.integers(0, 4), min_size=2, max_size=4).map(tuple), FLOATS, st.integers(-3, 3), st.data(), SEED)
def test_diagonals(shape: Shape, dtype: str, offset: int, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    agree(lambda x: x.triu(offset), lambda x: x.triu(offset), [x])
    agree(lambda x: handgrad.tril(x, diagonal=offset), lambda x: x.tril(offset), [x])
    i, j = data.draw(st.permutations(range(len(shape))))[:2]
    offset = max(-shape[i], min(offset, shape[j]))  # beyond the matrix PyTorch raises
    agree(lambda x: x.diagonal(offset, i, j), lambda x: x.diagonal(offset, i, j), [x])
    agree(lambda x: x.trace(offset, i, j), lambda x: x.diagonal(offset, i, j).sum(-1), [x])


@st.composite
def indices(draw: st.DrawFn, shape: Shape) -> Any:
    """Basic indices, with at most one integer or boolean array among them."""
    parts: list[Any] = []
    array_at = draw(st.integers(-1, len(shape) - 1))
    for axis, size in enumerate(shape[: draw(st.integers(0, len(shape)))]):
        if axis == array_at:
            if draw(st.booleans()):
                rows = draw(st.lists(st.integers(-size, size - 1), max_size=5))
                parts.append(np.array(rows, dtype=np.int64))
            else:
                parts.append(np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool))
        elif draw(st.booleans()):
            parts.append(draw(st.integers(-size, size - 1)))
        else:
            start, stop = draw(st.integers(0, size)), draw(st.integers(0, size))
            parts.append(slice(start, stop, draw(st.integers(1, 2))))
    if draw(st.booleans()):
        parts.append(Ellipsis)
    if not any(isinstance(part, np.ndarray) for part in parts) and draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    # Between an integer and an array NumPy moves the array's axis to the front; so does PyTorch, most of the time.
    assume(not (any(isinstance(p, np.ndarray) for p in parts) and any(isinstance(p, int) for p in parts)))
    return tuple(parts)


def for_torch(index: tuple[Any, ...]) -> Any:
    return tuple(torch.tensor(part) if isinstance(part, np.ndarray) else part for part in index)


def for_us(index: tuple[Any, ...]) -> Any:
    return tuple(handgrad.tensor(part) if isinstance(part, np.ndarray) else part for part in index)


@repeatedly
@given(FULL_SHAPES, FLOATS, st.data(), SEED)
def test_indexing(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x, index = draw_array(seed, shape, dtype), data.draw(indices(shape))
    agree(lambda x: x[index], lambda x: x[for_torch(index)], [x])
    agree(lambda x: x[for_us(index)], lambda x: x[for_torch(index)], [x])
    mask = x > 0
    agree(lambda x: x[handgrad.tensor(mask)], lambda x: x[torch.tensor(mask)], [x])


@repeatedly
@given(FULL_SHAPES, FLOATS, st.data(), SEED)
def test_assignment(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x, index = draw_array(seed, shape, dtype), data.draw(indices(shape))
    for part in index:
        if isinstance(part, np.ndarray) and part.dtype == np.int64:
            size = shape[index.index(part) if len(index) == 1 else [p is part for p in index].index(True)]
            assume(len(set(part % size)) == len(part))  # PyTorch does not define which of several values stays
    place = x[index].shape
    start = data.draw(st.integers(0, len(place)))
    value = draw_array(seed + 1, place[start:], dtype)

    def ours(x: Any, value: Any) -> Any:
        y = x * 2
        y[for_us(index)] = value
        y[for_us(index)] += 1.5
        return y * x

    def theirs(x: Any, value: Any) -> Any:
        y = x * 2
        y[for_torch(index)] = value
        y[for_torch(index)] += 1.5
        return y * x

    agree(ours, theirs, [x, value])


@repeatedly
@given(FULL_SHAPES, st.data(), SEED)
def test_views_and_what_they_look_at_change_together(shape: Shape, data: st.DataObject, seed: int) -> None:
    x, w = draw_array(seed, shape, "float64"), draw_array(seed + 1, (), "float64")
    axis = data.draw(st.integers(0, len(shape) - 1))
    at = data.draw(st.integers(0, shape[axis] - 1))
    index = (slice(None),) * axis + (at,)

    def computed(x: Any, w: Any, zeros: Any) -> Any:
        base = x * 3
        view = base[index]
        turned = base.reshape(-1)
        view *= w  # changes base and turned too
        base += w  # changes view and turned too
        turned[0] = w * w
        store = zeros((2, *view.shape))
        store[1] = view  # a store that required no gradient until now
        store[0] += 1.0
        return base * 2, view * w, turned * 3, store

    agree(
        lambda x, w: computed(x, w, lambda s: handgrad.zeros(s, dtype="float64")),
        lambda x, w: computed(x, w, lambda s: torch.zeros(s, dtype=torch.float64)),
        [x, w],
    )
