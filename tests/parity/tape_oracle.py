"""Runs a computation on our tensors and on PyTorch's, and compares outputs and all gradients."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from handgrad import Tensor
from handgrad.checking import relative_error
from handgrad.system.arrays import Array

Shape = tuple[int, ...]

repeatedly = settings(max_examples=60, deadline=None, derandomize=True)
SEED = st.integers(0, 2**16)
SIZES = st.integers(0, 4)
SHAPES = st.lists(SIZES, max_size=4).map(tuple)
FULL_SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
FLOATS = st.sampled_from(["float32", "float64"])
DTYPES = st.sampled_from(["float32", "float64", "int32", "int64", "bool"])
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}


def draw_array(seed: int, shape: Shape, dtype: str, *, rounded: bool = False, positive: bool = False) -> Array:
    """Normal values; ``rounded`` to halves, so that ties and kinks occur."""
    values = np.random.default_rng(seed).standard_normal(shape) * 2
    if rounded or dtype not in TOLERANCE:
        values = np.round(values * 2) / 2
    if positive:
        values = np.abs(values) + 0.25
    return np.asarray(values > 0 if dtype == "bool" else values).astype(dtype)


def agree(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arrays: Sequence[Array],
    *,
    dtype: bool = True,
    tolerance: float | None = None,
) -> None:
    """Asserts that both give the same outputs and, for a random d_output of each, the same gradients.

    Floating inputs require gradients on both sides; a missing gradient counts as zero. If ``dtype`` is false, the
    outputs' dtypes may differ, as they do if ours follow NumPy.
    """
    inputs = [Tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    oracles = [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's about degrees of freedom and 1-D transposes
        expected = _several(theirs(*oracles))
    with np.errstate(all="ignore"):
        outputs = _several(ours(*inputs))
    assert len(outputs) == len(expected)
    allowed = tolerance or max((TOLERANCE.get(str(array.dtype), 0.0) for array in arrays), default=0.0)
    for output, oracle in zip(outputs, expected, strict=True):
        same(output.data, oracle.detach().numpy(), allowed, dtype)
    reached = [(o, t) for o, t in zip(outputs, expected, strict=True) if t.requires_grad]
    assert [o.requires_grad for o in outputs] == [t.requires_grad for t in expected]
    if not reached:
        return
    weights = [np.random.default_rng(7).standard_normal(o.shape).astype(o.dtype) for o, _ in reached]
    with np.errstate(all="ignore"):
        loss = sum(((o * w).sum() for (o, _), w in zip(reached, weights, strict=True)), Tensor(0.0))
    their_loss = sum((t * torch.tensor(w)).sum() for (_, t), w in zip(reached, weights, strict=True))
    loss.backward()
    their_loss.backward()
    for tensor, oracle in zip(inputs, oracles, strict=True):
        if oracle.requires_grad:
            gradient = np.zeros(tensor.shape, tensor.dtype) if tensor.grad is None else tensor.grad
            their_gradient = np.zeros(tensor.shape, tensor.dtype) if oracle.grad is None else oracle.grad.numpy()
            same(gradient, their_gradient, allowed)


def same(ours: Array, theirs: Array, tolerance: float, dtype: bool = True) -> None:
    """Same shape and dtype, NaN and infinities at the same places, else ``tolerance`` relative to the largest."""
    assert ours.shape == theirs.shape
    if dtype:
        assert ours.dtype == theirs.dtype
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs)
        return
    special = ~np.isfinite(theirs)
    np.testing.assert_array_equal(ours[special], theirs[special])
    ours, theirs = np.where(special, 0, ours), np.where(special, 0, theirs)
    assert relative_error(ours.astype(np.float64), theirs.astype(np.float64)) <= tolerance, (ours, theirs)


def _several(output: Any) -> list[Any]:
    return list(output) if isinstance(output, list | tuple) else [output]


@st.composite
def broadcastable(draw: st.DrawFn, count: int = 2) -> list[Shape]:
    """Shapes that broadcast with one another: parts of one shape, with leading axes gone and sizes of 1."""
    whole = draw(SHAPES)
    shapes = []
    for _ in range(count):
        start = draw(st.integers(0, len(whole)))
        shapes.append(tuple(1 if draw(st.booleans()) else size for size in whole[start:]))
    return shapes
