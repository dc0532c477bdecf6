"""Compares a pair of ``ops`` with its counterpart in PyTorch: the output, and all gradients of a random d_output."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from handgrad import ops
from handgrad.checking import relative_error
from handgrad.system.arrays import Array

Shape = tuple[int, ...]

repeatedly = settings(max_examples=100, deadline=None, derandomize=True)
LEADING = st.lists(st.integers(0, 3), max_size=3).map(tuple)
SIZE = st.integers(0, 5)
POSITIVE = st.integers(1, 5)
SEED = st.integers(0, 2**16)


def compare(
    operation: Callable[..., tuple[Array, tuple[Any, ...]]],
    inputs: list[Array | None],
    oracle: Callable[..., Tensor],
    tolerance: float = 1e-10,
    **options: Any,
) -> None:
    """Asserts that ``operation(*inputs, **options)`` and its backward agree with ``oracle(*inputs)`` and autograd.

    Inputs and d_output are read-only: an operation must not write to them.
    """
    for x in inputs:
        if x is not None:
            x.flags.writeable = False
    tensors = [None if x is None else torch.tensor(x, requires_grad=True) for x in inputs]
    expected = oracle(*tensors)
    d_output = np.asarray(np.random.default_rng(11).standard_normal(expected.shape), dtype=inputs[0].dtype)
    d_output.flags.writeable = False
    expected.backward(torch.tensor(d_output))

    output, saved = operation(*inputs, **options)
    gradients = getattr(ops, f"{operation.__name__}_backward")(d_output, saved)
    assert_agrees(output, expected, tolerance)
    # A floating mask that is passed as an option has a gradient too, after those of the inputs.
    found = (gradients if isinstance(gradients, tuple) else (gradients,))[: len(tensors)]
    for ours, theirs in zip(found, tensors, strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert theirs.grad is not None
            assert_agrees(ours, theirs.grad, tolerance)


def assert_agrees(ours: Array, theirs: Tensor, tolerance: float) -> None:
    """Same shape, same dtype, NaN and infinities at the same places, else ``tolerance`` relative to the largest."""
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    special = ~np.isfinite(expected)
    np.testing.assert_array_equal(ours[special], expected[special])
    assert relative_error(np.where(special, 0, ours), np.where(special, 0, expected)) <= tolerance
