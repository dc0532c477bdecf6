"""Runs a kernel and its definition in ``ops`` on the same inputs, and compares what they return."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from handgrad import ops

table = pytest.importorskip("handgrad.kernels", reason="Numba is not installed")


def refusing(kernel: Any) -> Callable[..., Any]:
    """The kernel's forward, which fails if it is called with what the kernel does not take."""

    def forward(*inputs: Any, **options: Any) -> Any:
        assert kernel.takes(*inputs, **options)
        return kernel.forward(*inputs, **options)

    return forward


# Every kernel by its name, which is that of its definition in ``ops``.
kernels = SimpleNamespace(
    **{name: refusing(kernel) for name, kernel in table.KERNELS.items()},
    **{f"{name}_backward": kernel.backward for name, kernel in table.KERNELS.items()},
    **table.UPDATES,
)

SHAPES = [(7,), (3, 5), (2, 3, 37), (64, 128), (1, 1), (0, 5), (4, 1)]
SPECIAL = np.array([1e4, -1e4, 0, -0.0, np.nan, np.inf, -np.inf, 88.8, -88.8, 1e-38, 6, -6, -15], np.float32)
Arrays = list[np.ndarray]


def both_ways(module: object, name: str, inputs: Arrays, **options: object) -> Arrays:
    """Output and gradients of a pair, for a fixed gradient of the output."""
    with np.errstate(all="ignore"):
        output, saved = getattr(module, name)(*inputs, **options)
        dy = np.random.default_rng(1).standard_normal(output.shape).astype(output.dtype)
        gradients = getattr(module, name + "_backward")(dy, saved)
    return [output, *(gradients if isinstance(gradients, tuple) else (gradients,))]


def assert_as_good_as_the_text(name: str, inputs: Arrays, **options: object) -> None:
    """Same NaN and infinities; at most four times as far from float64 NumPy as float32 NumPy is."""
    compiled, text = both_ways(kernels, name, inputs, **options), both_ways(ops, name, inputs, **options)
    truth = both_ways(ops, name, [x.astype(np.float64) for x in inputs], **options)
    for a, b, t in zip(compiled, text, truth, strict=True):
        if b is None:  # the gradient of an input that was left out
            assert a is None
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.where(np.isinf(a), a, 0), np.where(np.isinf(b), b, 0))
        finite = np.isfinite(a) & np.isfinite(t)
        error, own = (np.abs(x[finite] - t[finite]).max(initial=0) for x in (a, b))
        assert error <= max(4 * own, 1e-6 * max(1, np.abs(t[finite]).max(initial=0)))


def assert_close(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert np.abs(a - b).max(initial=0) <= 1e-5 * max(1, np.abs(b).max(initial=0))
