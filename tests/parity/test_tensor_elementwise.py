"""Functions of one number, arithmetic with broadcasting and comparisons, on the tape, against PyTorch."""

import operator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tape_oracle import DTYPES, FLOATS, SEED, SHAPES, Shape, agree, broadcastable, draw_array, repeatedly

import handgrad

UNARY = {
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "softplus": F.softplus,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "square": torch.square,
}
POSITIVE = ("log", "sqrt")


@pytest.mark.parametrize("name", UNARY)
@repeatedly
@given(SHAPES, FLOATS, st.booleans(), SEED)
def test_functions_of_one_number(name: str, shape: Shape, dtype: str, rounded: bool, seed: int) -> None:
    x = draw_array(seed, shape, dtype, rounded=rounded, positive=name in POSITIVE)
    # Near its pole, the tangent magnifies the last bit of its argument.
    tolerance = {"float32": 1e-3, "float64": 1e-10}[dtype] if name == "tan" else None
    agree(getattr(handgrad, name), UNARY[name], [x], tolerance=tolerance)
    agree(lambda x: getattr(x, name)(), UNARY[name], [x], tolerance=tolerance)


@pytest.mark.parametrize("name", [name for name in UNARY if name not in ("gelu", "softplus", "relu")])
@given(SHAPES, SEED)
@repeatedly
def test_functions_of_integers_give_float32_where_they_give_fractions(name: str, shape: Shape, seed: int) -> None:
    x = draw_array(seed, shape, "int64", positive=name in POSITIVE) + (name in POSITIVE)
    agree(getattr(handgrad, name), UNARY[name], [x], tolerance=1e-3)


@repeatedly
@given(SHAPES, FLOATS, SEED)
def test_softplus_with_its_options_and_exact_gelu(shape: Shape, dtype: str, seed: int) -> None:
    x = draw_array(seed, shape, dtype)
    agree(lambda x: x.softplus(beta=2.5, threshold=3.0), lambda x: F.softplus(x, 2.5, 3.0), [x])
    agree(lambda x: x.gelu(approximate="none"), F.gelu, [x])


@repeatedly
@given(SHAPES, FLOATS, st.booleans(), SEED)
def test_functions_of_newer_transformers(shape: Shape, dtype: str, rounded: bool, seed: int) -> None:
    x = draw_array(seed, shape, dtype, rounded=rounded)
    agree(handgrad.silu, F.silu, [x])
    agree(handgrad.relu_squared, lambda x: F.relu(x).square(), [x])
    agree(lambda x: handgrad.tanh_cap(x, 1.5), lambda x: 1.5 * torch.tanh(x / 1.5), [x])
    pairs = draw_array(seed, (*shape, 6), dtype)
    agree(handgrad.swiglu, lambda x: F.silu(x[..., :3]) * x[..., 3:], [pairs])


@repeatedly
@given(SHAPES, st.integers(-1, 2), SEED)
def test_round_to_decimals(shape: Shape, decimals: int, seed: int) -> None:
    x = draw_array(seed, shape, "float64") * 10
    agree(lambda x: x.round(decimals), lambda x: torch.round(x, decimals=decimals), [x])


BINARY = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv}


@pytest.mark.parametrize("name", BINARY)
@repeatedly
@given(broadcastable(), DTYPES, DTYPES, st.booleans(), SEED)
def test_arithmetic(name: str, shapes: list[Shape], first: str, second: str, rounded: bool, seed: int) -> None:
    if name == "subtract" and "bool" in (first, second):
        first = second = "float32"  # neither library subtracts booleans
    a, b = draw_array(seed, shapes[0], first, rounded=rounded), draw_array(seed + 1, shapes[1], second)
    agree(BINARY[name], BINARY[name], [a, b])
    agree(getattr(handgrad, name), BINARY[name], [a, b])


@pytest.mark.parametrize("name", BINARY)
@repeatedly
@given(SHAPES, DTYPES, st.sampled_from([3, -2, 0.5, np.float64(1.5), np.float32(2.5), np.int64(2)]), SEED)
def test_numbers_on_either_side_never_widen(name: str, shape: Shape, dtype: str, number: Any, seed: int) -> None:
    x = draw_array(seed, shape, "float32" if name == "subtract" and dtype == "bool" else dtype, positive=True)
    plain = number.item() if isinstance(number, np.generic) else number
    agree(lambda x: BINARY[name](x, number), lambda x: BINARY[name](x, plain), [x])
    agree(lambda x: BINARY[name](number, x), lambda x: BINARY[name](plain, x), [x])


@repeatedly
@given(broadcastable(), FLOATS, FLOATS, SEED)
def test_power(shapes: list[Shape], first: str, second: str, seed: int) -> None:
    a, b = draw_array(seed, shapes[0], first, positive=True), draw_array(seed + 1, shapes[1], second, rounded=True)
    agree(operator.pow, torch.pow, [a, b], tolerance=1e-4 if "float32" in (first, second) else None)


@repeatedly
@given(SHAPES, FLOATS, st.sampled_from([2, 3, 1, 0, -1, 0.5, 2.5]), SEED)
def test_power_of_and_by_a_number(shape: Shape, dtype: str, number: float, seed: int) -> None:
    x = draw_array(seed, shape, dtype, positive=True)
    agree(lambda x: x**number, lambda x: x**number, [x])
    agree(lambda x: 1.7**x, lambda x: 1.7**x, [x])
    with_zeros = np.abs(draw_array(seed, shape, dtype, rounded=True))
    agree(lambda x: x**number, lambda x: x**number, [with_zeros])
    agree(lambda a, b: a**b, lambda a, b: a**b, [with_zeros, np.full(shape, number, dtype)])


@pytest.mark.parametrize("operation", [operator.mod, operator.floordiv])
@repeatedly
@given(broadcastable(), DTYPES, DTYPES, SEED)
def test_remainder_and_whole_quotient(operation: Any, shapes: list[Shape], first: str, second: str, seed: int) -> None:
    if "bool" in (first, second):
        first = second = "int64"
    a, b = draw_array(seed, shapes[0], first), draw_array(seed + 1, shapes[1], second, positive=True)
    b = np.maximum(b, 1).astype(second) if second.startswith("int") else b
    if operation is operator.mod:
        agree(operation, operation, [a, b])
    else:  # PyTorch does not differentiate it
        agree(lambda a, b: operation(a.detach(), b.detach()), lambda a, b: operation(a.detach(), b.detach()), [a, b])


@repeatedly
@given(SHAPES, FLOATS, st.sampled_from([2, 3, -1, 0.5]), SEED)
def test_powers_of_negative_bases(shape: Shape, dtype: str, number: float, seed: int) -> None:
    x = draw_array(seed, shape, dtype, rounded=True)
    agree(lambda x: x**number, lambda x: x**number, [x])


@repeatedly
@given(broadcastable(), DTYPES, DTYPES, SEED)
def test_logic(shapes: list[Shape], first: str, second: str, seed: int) -> None:
    a, b = draw_array(seed, shapes[0], first, rounded=True), draw_array(seed + 1, shapes[1], second, rounded=True)
    agree(handgrad.logical_and, torch.logical_and, [a, b])
    agree(handgrad.logical_or, torch.logical_or, [a, b])
    agree(handgrad.logical_not, torch.logical_not, [a])


@repeatedly
@given(st.integers(1, 4), FLOATS, SEED)
def test_in_place_powers_and_products_of_matrices(n: int, dtype: str, seed: int) -> None:
    x, y = draw_array(seed, (n, n), dtype), draw_array(seed + 1, (n, n), dtype)

    def ours(x: Any, y: Any) -> Any:
        z, square = x * 2, x * 1
        z @= y
        square **= 2
        return z * x + square

    agree(ours, lambda x, y: ((x * 2) @ y) * x + x**2, [x, y], tolerance=1e-4 if dtype == "float32" else None)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@repeatedly
@given(broadcastable(), FLOATS, SEED)
def test_the_larger_and_the_smaller_with_ties(name: str, shapes: list[Shape], dtype: str, seed: int) -> None:
    a, b = (draw_array(seed + i, shape, dtype, rounded=True) for i, shape in enumerate(shapes))
    agree(getattr(handgrad, name), getattr(torch, name), [a, b])
    agree(lambda a, b: getattr(a, name)(b), getattr(torch, name), [a, b])


@repeatedly
@given(SHAPES, FLOATS, SEED, st.booleans(), st.booleans())
def test_clip_by_numbers(shape: Shape, dtype: str, seed: int, has_min: bool, has_max: bool) -> None:
    x = draw_array(seed, shape, dtype, rounded=True)
    low, high = (-0.5 if has_min else None), (1.5 if has_max or not has_min else None)
    agree(lambda x: x.clip(low, high), lambda x: x.clamp(low, high), [x])


@repeatedly
@given(broadcastable(3), FLOATS, SEED)
def test_clip_by_tensors(shapes: list[Shape], dtype: str, seed: int) -> None:
    shapes[0] = np.broadcast_shapes(*shapes)  # PyTorch fails if an empty bound would broadcast x to nothing
    x, low, high = (draw_array(seed + i, shape, dtype, rounded=True) for i, shape in enumerate(shapes))
    agree(handgrad.clip, torch.clamp, [x, low, np.asarray(high + dtype_one(dtype))])


def dtype_one(dtype: str) -> Any:
    return np.dtype(dtype).type(1)


@repeatedly
@given(broadcastable(3), FLOATS, SEED)
def test_where(shapes: list[Shape], dtype: str, seed: int) -> None:
    condition = draw_array(seed, shapes[0], "bool")
    a, b = draw_array(seed + 1, shapes[1], dtype), draw_array(seed + 2, shapes[2], dtype)
    agree(handgrad.where, torch.where, [condition, a, b])
    agree(lambda c, a: handgrad.where(c, a, -1.0), lambda c, a: torch.where(c, a, -1.0), [condition, a])


@repeatedly
@given(broadcastable(), FLOATS, SEED)
def test_masked_fill(shapes: list[Shape], dtype: str, seed: int) -> None:
    x, mask = draw_array(seed, shapes[0], dtype), draw_array(seed + 1, shapes[1], "bool")
    value = draw_array(seed + 2, (), dtype)
    agree(lambda x, m: x.masked_fill(m, float("-inf")), lambda x, m: x.masked_fill(m, float("-inf")), [x, mask])
    agree(lambda x, m, v: x.masked_fill(m, v), lambda x, m, v: x.masked_fill(m, v), [x, mask, value])


COMPARISONS = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}


@pytest.mark.parametrize("name", COMPARISONS)
@repeatedly
@given(broadcastable(), DTYPES, DTYPES, SEED)
def test_comparisons(name: str, shapes: list[Shape], first: str, second: str, seed: int) -> None:
    a = draw_array(seed, shapes[0], first, rounded=True)
    b = draw_array(seed + 1, shapes[1], second, rounded=True)
    agree(COMPARISONS[name], COMPARISONS[name], [a, b])
    agree(lambda a: getattr(handgrad, name)(a, 0.5), lambda a: COMPARISONS[name](a, 0.5), [a])


@repeatedly
@given(SHAPES, FLOATS, SEED)
def test_what_is_finite_and_where_it_is_not_zero(shape: Shape, dtype: str, seed: int) -> None:
    x = draw_array(seed, shape, dtype, rounded=True)
    x = np.where(x == 1, np.nan, np.where(x == -1, np.inf, x)).astype(dtype)
    for name in ("isnan", "isinf", "isfinite"):
        agree(getattr(handgrad, name), getattr(torch, name), [x])
    if shape:
        agree(handgrad.nonzero, lambda x: torch.nonzero(x, as_tuple=True), [x])


IN_PLACE = {"add": operator.iadd, "subtract": operator.isub, "multiply": operator.imul, "divide": operator.itruediv}


@pytest.mark.parametrize("name", IN_PLACE)
@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_in_place_arithmetic(name: str, shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    start = data.draw(st.integers(0, len(shape)))
    x, y = draw_array(seed, shape, dtype), draw_array(seed + 1, shape[start:], dtype, positive=True)

    def computed(x: Any, y: Any) -> Any:
        z = x * 2
        z = IN_PLACE[name](z, y)
        z = IN_PLACE[name](z, 3)
        return z + y

    agree(computed, computed, [x, y])


@repeatedly
@given(SHAPES, FLOATS, FLOATS, SEED)
def test_astype_gives_the_gradient_back_in_the_dtype_it_came_from(shape: Shape, a: str, b: str, seed: int) -> None:
    x = draw_array(seed, shape, a)
    agree(lambda x: x.astype(b) * 2, lambda x: x.to(getattr(torch, b)) * 2, [x], tolerance=2e-5)
