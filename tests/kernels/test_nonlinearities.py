"""The compiled norms and nonlinearities of newer transformers against the NumPy code in ``ops``."""

from typing import Any

import numpy as np
import pytest
from comparing import SHAPES, SPECIAL, assert_as_good_as_the_text, assert_close, both_ways, kernels, table

from handgrad import ops

ELEMENTWISE: list[tuple[str, dict[str, Any]]] = [
    ("relu_squared", {}),
    ("silu", {}),
    ("tanh_cap", {"cap": 1.7}),
    ("tanh_cap", {"cap": 30.0}),
]
Shape = tuple[int, ...]


@pytest.mark.parametrize("shape", [(), *SHAPES])
@pytest.mark.parametrize("scale", [1e-3, 1, 10])
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
def test_element_by_element(name: str, options: dict[str, Any], scale: float, shape: Shape) -> None:
    x = np.asarray(np.random.default_rng(0).standard_normal(shape) * scale, np.float32)
    for a, b in zip(both_ways(kernels, name, [x], **options), both_ways(ops, name, [x], **options), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
def test_extreme_numbers(name: str, options: dict[str, Any]) -> None:
    large = np.array([1e8, -1e8, 3e8, 1e-20, -1e-20, 88.4, -88.4, 0.625], np.float32)
    for x in (SPECIAL, large, np.linspace(-20, 20, 4001, dtype=np.float32)):
        assert_as_good_as_the_text(name, [x], **options)


@pytest.mark.parametrize("shape", [(8,), (3, 6), (2, 3, 74), (64, 130), (1, 2), (0, 4), (3, 0)])
@pytest.mark.parametrize("scale", [1e-3, 1, 10])
def test_swiglu(shape: Shape, scale: float) -> None:
    x = np.asarray(np.random.default_rng(0).standard_normal(shape) * scale, np.float32)
    for a, b in zip(both_ways(kernels, "swiglu", [x]), both_ways(ops, "swiglu", [x]), strict=True):
        assert_close(a, b)


def test_extreme_numbers_as_gate_and_as_what_passes_it() -> None:
    numbers = np.concatenate([SPECIAL, np.array([1e8, -1e8], np.float32)])
    plain = np.random.default_rng(0).standard_normal(numbers.size).astype(np.float32)
    finite = numbers[np.isfinite(numbers)]
    every_two = tuple(axis.reshape(-1) for axis in np.meshgrid(finite, finite))
    for gate, up in ((numbers, plain), (plain, numbers), every_two):
        assert_as_good_as_the_text("swiglu", [np.stack([gate, up], axis=-1)])


def test_caps_that_float32_cannot_hold_are_left_to_the_text() -> None:
    x = np.ones(3, np.float32)
    takes = table.KERNELS["tanh_cap"].takes
    assert [takes(x, cap=cap) for cap in (1e-31, 1e-29, 30, 1e29, 1e31, np.inf)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_rms_norm(shape: Shape, weighted: bool, eps: float) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(s).astype(np.float32) for s in ((shape, shape[-1:]) if weighted else (shape,))]
    both = [both_ways(module, "rms_norm", inputs, eps=eps) for module in (kernels, ops)]
    for a, b in zip(*both, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert_close(a, b)


@pytest.mark.parametrize("size", [3, 5, 7, 128])
@pytest.mark.parametrize("weighted", [True, False])
def test_extreme_inputs_of_rms_norm(size: int, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    weight = [rng.standard_normal(size).astype(np.float32)] if weighted else []
    noise = rng.standard_normal((6, size)).astype(np.float32)
    cases = [
        np.array([[1234.567], [-1e4], [3e-5], [0.1], [1e8], [-1e8]]) * np.ones(size),
        noise * 1e4,
        noise * 1e8,
        noise * 1e-6,
        noise + 1e4,
        np.zeros((4, size)),
    ]
    for special in (np.nan, np.inf, -np.inf, 1e4, -1e4, 1e8, -1e8):
        cases.append(noise.copy())
        cases[-1][2, 1] = special
    for rows in cases:
        assert_as_good_as_the_text("rms_norm", [rows.astype(np.float32), *weight])


@pytest.mark.parametrize("weighted", [True, False])
def test_the_gradient_of_the_weight_of_rms_norm_is_added_where_it_belongs(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 4, 8)).astype(np.float32)
    weight = rng.standard_normal(8).astype(np.float32) if weighted else None
    _, saved = kernels.rms_norm(x, weight)
    dx, d_weight = kernels.rms_norm_backward(dy, saved)
    there = np.ones(8, np.float32)
    again, added = kernels.rms_norm_backward(dy, saved, (None, there if weighted else None))
    np.testing.assert_array_equal(again, dx)
    if weighted:
        assert added is there
        np.testing.assert_allclose(there, 1 + d_weight, rtol=0, atol=1e-5)
    else:
        assert d_weight is None
        assert added is None


def test_what_does_not_fit_is_refused_by_both() -> None:
    x = np.ones((2, 8), np.float32)
    for module in (kernels, ops):
        with pytest.raises(ValueError, match=r"rms_norm: weight must have shape \(8,\), as x is \(2, 8\), not \(4,\)"):
            module.rms_norm(x, x[0, :4])
        with pytest.raises(ValueError, match=r"axes must lie in \[1, 0\]"):
            module.rms_norm(x[0, 0].reshape(()))
        for odd in (x[:, :7], x[0, 0].reshape(())):
            with pytest.raises(ValueError, match="the last size of x must be even"):
                module.swiglu(odd)
        for cap in (0.0, -3.0, np.nan):
            with pytest.raises(ValueError, match="cap must be a finite number above 0, not"):
                module.tanh_cap(x, cap)


def test_tanh() -> None:
    """Accurate to a few last bits everywhere: near 0, on both sides of the seam, and where it is nearly 1."""
    import numba

    from handgrad.kernels.exponential import tanh32

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def each(x, y):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            y[i] = tanh32(x[i])

    sizes = np.concatenate([np.geomspace(1e-37, 50, 200_001), np.linspace(0.6, 0.65, 10_001)])
    x = np.concatenate([sizes, -sizes]).astype(np.float32)
    y, truth = np.empty_like(x), np.tanh(x.astype(np.float64))
    each(x, y)
    assert np.max(np.abs(y - truth) / np.abs(truth)) < 4e-7
    special, y = np.array([np.nan, np.inf, -np.inf, 89, -1e8, 0], np.float32), np.empty(6, np.float32)
    each(special, y)
    np.testing.assert_array_equal(y, np.array([np.nan, 1, -1, 1, -1, 0], np.float32))


@pytest.mark.parametrize("cap", [1e-3, 1.0, 50.0])
def test_a_cap_leaves_small_numbers_as_they_are(cap: float) -> None:
    """Relative to each number, not to the largest: 1 - 2 / (1 + e²ˣ) would lose them."""
    x = (np.geomspace(1e-12, 1e-4, 101) * cap).astype(np.float32)
    y, saved = kernels.tanh_cap(x, cap)
    np.testing.assert_allclose(y, x, rtol=5e-7)
    np.testing.assert_allclose(kernels.tanh_cap_backward(np.ones_like(x), saved), 1, rtol=1e-6)
