"""Cases for the many small operations, on shapes whose sizes all differ."""

from typing import Any

import numpy as np

from handgrad import ops
from handgrad.checking.cases import OperationCase
from handgrad.system.arrays import Array


def elementary_cases() -> list[OperationCase]:
    """Elementwise operations, reductions, rearrangements and products."""
    rng = np.random.default_rng(2030)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape)

    return [
        *_elementwise(normal(2, 3, 5)),
        *_arithmetic(rng),
        # No two elements, or an element and the negative of another, are so close that the largest could change.
        *_reductions(0.13 * (rng.permutation(30).reshape(2, 3, 5) - 13.7)),
        *_rearrangements(rng),
        *_products(rng),
    ]


def _case(name: str, operation: Any, inputs: dict[str, Array], **options: Any) -> OperationCase:
    return OperationCase(name, operation, inputs, lambda: options)


def _elementwise(x: Array) -> list[OperationCase]:
    # Keeps away from 0, whole numbers and halves, where some operations have kinks or steps.
    whole, part = np.round(x), (x - np.round(x)) * 0.7
    x = whole + np.where(np.abs(part) < 0.05, 0.2, part)
    positive = np.abs(x)
    smooth = ("negative", "exp", "sin", "cos", "tanh", "sigmoid", "softplus", "abs", "copy", "expm1")
    steps = ("sign", "floor", "ceil", "round")
    return [
        *(_case(name, getattr(ops, name), {"x": x}) for name in (*smooth, *steps)),
        *(_case(name, getattr(ops, name), {"x": positive}) for name in ("log", "log1p", "sqrt")),
        _case("tan", ops.tan, {"x": 0.4 * x}),  # away from its poles
        _case("softplus, beta 3, partly straight", ops.softplus, {"x": x}, beta=3.0, threshold=1.5),
        _case("astype", ops.astype, {"x": x}, dtype=np.dtype(np.float64)),
    ]


def _arithmetic(rng: np.random.Generator) -> list[OperationCase]:
    a, b, row = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 5)), rng.standard_normal((3, 1))
    b, row = np.where(np.abs(b) < 0.2, 0.5, b), np.where(np.abs(row) < 0.2, 0.5, row)
    positive, mask = np.abs(a) + 0.3, rng.random((2, 3, 5)) < 0.5
    cases = []
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum"):
        operation = getattr(ops, name)
        cases += [
            _case(name, operation, {"a": a, "b": b}),
            _case(f"{name}, b broadcast", operation, {"a": a, "b": row}),
            _case(f"{name}, a broadcast", operation, {"a": row, "b": b}),
        ]
    bounds = {"x": 2 * a, "low": np.full((3, 1), -0.7), "high": np.full(5, 0.9)}
    return [
        *cases,
        _case("power", ops.power, {"a": positive, "b": b}),
        _case("power, b broadcast", ops.power, {"a": positive, "b": row}),
        _case("floor_divide", ops.floor_divide, {"a": a, "b": row}),
        _case("remainder", ops.remainder, {"a": a, "b": row}),
        _case("clip", ops.clip, bounds),
        _case("where", ops.where, {"a": a, "b": row}, condition=mask),
        _case("masked_fill", ops.masked_fill, {"x": a, "value": rng.standard_normal(())}, mask=mask[0]),
        _case("mse", ops.mse, {"prediction": a, "target": b}),
        _case("mse, sum", ops.mse, {"prediction": a, "target": b}, reduction="sum"),
        _case("mse, none", ops.mse, {"prediction": a, "target": b}, reduction="none"),
    ]


def _reductions(x: Array) -> list[OperationCase]:
    cases = []
    for name in ("sum", "mean", "var", "std", "prod", "max", "min", "norm", "logsumexp"):
        operation = getattr(ops, name)
        cases += [
            _case(name, operation, {"x": x}),
            _case(f"{name}, axis 1", operation, {"x": x}, axis=1),
            _case(f"{name}, axes 0 and 2 kept", operation, {"x": x}, axis=(0, -1), keepdims=True),
        ]
    for ord in (0, 1, 3, np.inf, -np.inf):
        cases.append(_case(f"norm, ord {ord}", ops.norm, {"x": x}, ord=ord, axis=1))
    with_zeros = x.copy()
    with_zeros[0, 1, 2] = with_zeros[1, 0, 0] = with_zeros[1, 2, 0] = 0
    return [
        *cases,
        _case("var, ddof 1", ops.var, {"x": x}, axis=2, ddof=1),
        _case("prod, zeros", ops.prod, {"x": with_zeros}, axis=1),
        _case("cumsum", ops.cumsum, {"x": x}),
        _case("cumsum, axis 1", ops.cumsum, {"x": x}, axis=1),
        _case("cumprod", ops.cumprod, {"x": x}, axis=-1),
        _case("cumprod, zeros", ops.cumprod, {"x": with_zeros}, axis=1),
        _case("cumprod, flattened", ops.cumprod, {"x": with_zeros}),
        _case("log_softmax", ops.log_softmax, {"x": x}),
        _case("log_softmax, axis 1", ops.log_softmax, {"x": x}, axis=1),
    ]


def _rearrangements(rng: np.random.Generator) -> list[OperationCase]:
    x, one = rng.standard_normal((2, 3, 5)), {"x": rng.standard_normal((2, 3, 5))}
    rows = {"first": x, "second": rng.standard_normal((2, 4, 5)), "third": rng.standard_normal((2, 1, 5))}
    repeated = (np.array([0, 1, 0, 1, 1, 0, 0]), slice(1, 3))
    chosen = rng.random((2, 3)) < 0.5
    positions = np.array([[4, 17], [0, 29], [8, 1]])
    return [
        _case("reshape", ops.reshape, one, shape=(5, -1)),
        _case("permute", ops.permute, one, axes=(2, 0, -2)),
        _case("broadcast_to", ops.broadcast_to, {"x": rng.standard_normal((3, 1))}, shape=(2, 3, 5)),
        _case("repeat", ops.repeat, one, repeats=3, axis=1),
        _case("repeat, each its own", ops.repeat, one, repeats=[2, 0, 4], axis=1),
        _case("repeat, flattened", ops.repeat, one, repeats=2),
        _case("concatenate", ops.concatenate, rows, axis=1),
        _case("concatenate, flattened", ops.concatenate, rows, axis=None),
        _case("stack", ops.stack, {"first": x, "second": one["x"]}, axis=-1),
        _case("split", ops.split, one, sizes=[1, 4], axis=2),
        _case("diagonal", ops.diagonal, one, offset=1, axis1=1, axis2=2),
        _case("diagonal, below", ops.diagonal, one, offset=-1, axis1=2, axis2=0),
        _case("triu", ops.triu, one, k=1),
        _case("tril", ops.tril, one, k=1),
        _case("getitem, basic", ops.getitem, one, index=(1, slice(None), None, slice(4, None, -2))),
        _case("getitem, repeated integers", ops.getitem, one, index=repeated),
        _case("getitem, booleans", ops.getitem, one, index=chosen),
        _case(
            "setitem, basic", ops.setitem, {"x": x, "value": rng.standard_normal((3, 1))}, index=(1, ..., slice(1, 4))
        ),
        _case(
            "setitem, repeated integers", ops.setitem, {"x": x, "value": rng.standard_normal((7, 2, 5))}, index=repeated
        ),
        _case("setitem, booleans", ops.setitem, {"x": x, "value": rng.standard_normal(5)}, index=chosen),
        _case("gather", ops.gather, one, indices=rng.integers(-5, 5, (2, 3, 7)), axis=2),
        _case("gather, of a part", ops.gather, one, indices=rng.integers(0, 3, (1, 7, 4)), axis=1),
        _case("view_of", ops.view_of, one, positions=positions),
        _case("with_view", ops.with_view, {"x": x, "value": rng.standard_normal((3, 2))}, positions=positions),
    ]


def _products(rng: np.random.Generator) -> list[OperationCase]:
    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape)

    stack, matrix, vector = normal(2, 3, 5), normal(5, 7), normal(5)
    # No two numbers are so close that another could become the largest.
    apart = 0.13 * (rng.permutation(252).reshape(2, 3, 6, 7) - 113.7)
    image, kernel = normal(2, 3, 6, 7), normal(5, 3, 2, 4)
    return [
        _case("matmul", ops.matmul, {"a": normal(3, 5), "b": matrix}),
        _case("matmul, stack and matrix", ops.matmul, {"a": stack, "b": matrix}),
        _case("matmul, stacks", ops.matmul, {"a": normal(6, 1, 3, 5), "b": normal(2, 5, 7)}),
        _case("matmul, matrix and stack", ops.matmul, {"a": normal(4, 3), "b": stack}),
        _case("matmul, stack and vector", ops.matmul, {"a": stack, "b": vector}),
        _case("matmul, vector and stack", ops.matmul, {"a": normal(3), "b": stack}),
        _case("matmul, vectors", ops.matmul, {"a": vector, "b": normal(5)}),
        _case("einsum", ops.einsum, {"a": normal(2, 4, 3, 5), "b": normal(2, 4, 6, 5)}, subscripts="bhtd,bhsd->bhts"),
        _case("einsum, three", ops.einsum, {"a": stack, "b": matrix, "c": normal(7, 4)}, subscripts="ijk,kl,lm"),
        _case("einsum, dots", ops.einsum, {"a": stack, "b": normal(4, 1, 5)}, subscripts="...i,j...i->...j"),
        _case("einsum, summed alone", ops.einsum, {"a": stack, "b": normal(3, 4)}, subscripts="ijk,jl->l"),
        _case(
            "einsum, diagonal",
            ops.einsum,
            {"a": normal(2, 3, 3, 5), "b": normal(3, 2)},
            subscripts="ijjk,ji->k",
        ),
        _case("einsum, 0-d operand", ops.einsum, {"a": np.asarray(1.5), "b": vector}, subscripts=",i->i"),
        _case("max_pool2d", ops.max_pool2d, {"x": apart}, kernel_size=2),
        _case(
            "max_pool2d, overlapping, padded",
            ops.max_pool2d,
            {"x": apart},
            kernel_size=(3, 4),
            stride=(2, 1),
            padding=1,
        ),
        _case("conv2d", ops.conv2d, {"x": image, "weight": kernel, "bias": normal(5)}),
        _case(
            "conv2d, strided, padded, dilated",
            ops.conv2d,
            {"x": image, "weight": kernel},
            stride=(2, 1),
            padding=(1, 3),
            dilation=(3, 2),
        ),
    ]
