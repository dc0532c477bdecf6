"""bfloat16: the rounding, the products, and every operation with them against a formula in float64."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from handgrad import ops
from handgrad.backend import gradients_of, text_pair
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.ops.newton_schulz import COEFFICIENTS
from handgrad.ops.precision import product, rounded_to_bfloat16
from handgrad.system.arrays import Array

LARGEST = 3.3895313892515355e38
"""Of bfloat16."""
FIRST_INFINITE = np.array(0x7F7F8000, np.uint32).view(np.float32)
"""Half of a last bit above the largest, 3.3961775e38: a tie, which goes to the even neighbour, infinity."""
SMALLEST_NORMAL = 2.0**-126


def nearest(x: Array) -> Array:
    """The nearest bfloat16 of normal numbers, by another way: 8 bits of the fraction, ties to even, as ``np.rint``."""
    fraction, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(fraction * 256), exponent - 8)


def both_dtypes(values: Any) -> Iterator[Array]:
    yield np.array(values, np.float32)
    yield np.array(values, np.float64)


# The rounding


def test_numbers_become_the_nearest_of_bfloat16() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 200_000, np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x) & (np.abs(x) >= SMALLEST_NORMAL) & (np.abs(x) < FIRST_INFINITE)]
    assert len(x) > 190_000
    y = rounded_to_bfloat16(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, nearest(x))
    assert not (y.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_array_equal(rounded_to_bfloat16(x.astype(np.float64)), y.astype(np.float64))
    double = rng.standard_normal(10_000)  # has more bits than float32
    np.testing.assert_array_equal(rounded_to_bfloat16(double), nearest(double))


def test_every_number_of_bfloat16_stays_as_it_is() -> None:
    x = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    x = x[np.isfinite(x) & ((x == 0) | (np.abs(x) >= SMALLEST_NORMAL))]
    assert len(x) == 2 * (254 * 128 + 1)
    assert rounded_to_bfloat16(x).tobytes() == x.tobytes()


def test_a_tie_goes_to_the_even_neighbour() -> None:
    step = 2.0**-7
    for x in both_dtypes([1 + step / 2, 1 + 3 * step / 2, -1 - step / 2, -1 - 3 * step / 2]):
        np.testing.assert_array_equal(rounded_to_bfloat16(x), [1, 1 + 2 * step, -1, -1 - 2 * step])
    single = np.array([1 + step / 2, 1 + 3 * step / 2], np.float32)
    np.testing.assert_array_equal(rounded_to_bfloat16(np.nextafter(single, np.float32(2))), [1 + step, 1 + 2 * step])
    np.testing.assert_array_equal(rounded_to_bfloat16(np.nextafter(single, np.float32(0))), [1, 1 + step])
    barely = 1 + step / 2 + 2.0**-50  # a tie in float32, none in float64
    np.testing.assert_array_equal(rounded_to_bfloat16(np.array([barely])), [1 + step])


def test_a_number_whose_rounding_carries_gets_the_next_exponent() -> None:
    for x in both_dtypes([1.9999, -3.9999, 2.0**-126 * 1.9999]):
        np.testing.assert_array_equal(rounded_to_bfloat16(x), [2, -4, 2.0**-125])


def test_large_numbers_become_infinite_from_the_tie_on() -> None:
    below = np.nextafter(FIRST_INFINITE, np.float32(0))
    x = np.array([below, FIRST_INFINITE, np.finfo(np.float32).max, np.inf], np.float32)
    np.testing.assert_array_equal(rounded_to_bfloat16(x), [LARGEST, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(rounded_to_bfloat16(-x), [-LARGEST, -np.inf, -np.inf, -np.inf])
    double = np.array([3.3961775e38 * 0.999999, 3.397e38, 1e39, 1e300])
    np.testing.assert_array_equal(rounded_to_bfloat16(double), [LARGEST, np.inf, np.inf, np.inf])


def test_nan_stays_nan_whatever_its_bits() -> None:
    """Adding to the bits of a NaN could carry into the sign, and dropping its last bits could leave infinity."""
    bits = [0x7F800001, 0x7F80FFFF, 0x7FFFFFFF, 0x7FC00000, 0xFF800001, 0xFFFFFFFF, 0xFFC00000, 0x7FBFFFFF]
    assert np.isnan(rounded_to_bfloat16(np.array(bits, np.uint32).view(np.float32))).all()
    double = [0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFF0000000000001, 0xFFFFFFFFFFFFFFFF]
    assert np.isnan(rounded_to_bfloat16(np.array(double, np.uint64).view(np.float64))).all()


def test_denormal_numbers_become_zeros_of_their_sign() -> None:
    least = np.nextafter(np.float32(SMALLEST_NORMAL), np.float32(0))
    for x in both_dtypes([1e-45, least, 0.0, -0.0, -least, -1e-45]):
        y = rounded_to_bfloat16(x)
        assert (y == 0).all()
        assert np.signbit(y).tolist() == [False, False, False, True, True, True]
    np.testing.assert_array_equal(rounded_to_bfloat16(np.array([SMALLEST_NORMAL], np.float32)), [SMALLEST_NORMAL])


# The product


def test_a_product_rounds_its_operands_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 3, 5)), rng.standard_normal((5, 7))
    expected = np.einsum("nmk,kl->nml", nearest(a), nearest(b))
    np.testing.assert_allclose(product(a, b, "bfloat16"), expected, rtol=1e-12, atol=1e-12)
    single = product(a.astype(np.float32), b.astype(np.float32), "bfloat16")
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(a @ b - expected).max() > 1e-3
    np.testing.assert_array_equal(product(a, b, "float32"), a @ b)


def test_a_denormal_result_counts_as_zero() -> None:
    tiny = np.array([[2.0**-80]], np.float32)
    assert product(tiny, tiny, "float32") == 0  # float32 ends
    small = np.array([[2.0**-65]], np.float32)
    assert product(small, small, "float32") == 2.0**-130
    for x in (small, small.astype(np.float64)):
        y = product(x, -x, "bfloat16")
        assert y == 0
        assert np.signbit(y).all()


# Operations, with shapes whose sizes all differ

Expected = Callable[..., tuple[Array, ...]]
R = nearest


def _linear(x: Array, w: Array, b: Array, dy: Array) -> tuple[Array, ...]:
    y = np.einsum("bti,io->bto", R(x), R(w)) + b
    return y, np.einsum("bto,io->bti", R(dy), R(w)), np.einsum("bti,bto->io", R(x), R(dy)), dy.sum((0, 1))


def _nonlinear(value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Expected:
    def expected(x: Array, w: Array, b: Array, dy: Array) -> tuple[Array, ...]:
        h = _linear(x, w, b, dy)[0]
        return value(h), *_linear(x, w, b, dy * slope(h))[1:]

    return expected


def _tanh_of_gelu(h: Array) -> tuple[Array, Array]:
    c = np.sqrt(2 / np.pi)
    return np.tanh(c * (h + 0.044715 * h**3)), c * (1 + 3 * 0.044715 * h**2)


def _gelu(h: Array) -> Array:
    return h * (1 + _tanh_of_gelu(h)[0]) / 2


def _gelu_slope(h: Array) -> Array:
    t, inner = _tanh_of_gelu(h)
    return (1 + t) / 2 + h * (1 - t**2) * inner / 2


def _unembedding(x: Array, w: Array, b: Array, dy: Array) -> tuple[Array, ...]:
    y = np.einsum("btc,vc->btv", R(x), R(w)) + b
    return y, np.einsum("btv,vc->btc", R(dy), R(w)), np.einsum("btv,btc->vc", R(dy), R(x)), dy.sum((0, 1))


def _attention(q: Array, k: Array, v: Array, dy: Array, scale: float = 0.5) -> tuple[Array, ...]:
    """Causal. What enters a product is rounded: q, k, the weights P, v, dy and the scaled gradient of the scores."""
    scores = scale * np.einsum("nhtd,nhsd->nhts", R(q), R(k))
    scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
    P = np.exp(scores - scores.max(-1, keepdims=True))
    P /= P.sum(-1, keepdims=True)
    dP = np.einsum("nhte,nhse->nhts", R(dy), R(v))
    dS = scale * P * (dP - (dP * P).sum(-1, keepdims=True))
    return (
        np.einsum("nhts,nhse->nhte", R(P), R(v)),
        np.einsum("nhts,nhsd->nhtd", R(dS), R(k)),
        np.einsum("nhts,nhtd->nhsd", R(dS), R(q)),
        np.einsum("nhts,nhte->nhse", R(P), R(dy)),
    )


def _self_attention(qkv: Array, dy: Array) -> tuple[Array, ...]:
    """Of 3 heads with 4 components each, which lie side by side."""
    heads = [part.reshape(2, 5, 3, 4).swapaxes(1, 2) for part in np.split(qkv, 3, axis=-1)]
    y, *gradients = _attention(*heads, dy.reshape(2, 5, 3, 4).swapaxes(1, 2))
    merged = [part.swapaxes(1, 2).reshape(2, 5, 12) for part in (y, *gradients)]
    return merged[0], np.concatenate(merged[1:], axis=-1)


def _relu(h: Array) -> Array:
    return np.maximum(h, 0)


AFFINE = ((2, 5, 3), (3, 7), (7,))
CASES: dict[str, tuple[tuple[tuple[int, ...], ...], dict[str, Any], Expected]] = {
    "linear": (AFFINE, {}, _linear),
    "linear_gelu": (AFFINE, {}, _nonlinear(_gelu, _gelu_slope)),
    "linear_relu": (AFFINE, {}, _nonlinear(_relu, lambda h: h > 0)),
    "linear_relu_squared": (AFFINE, {}, _nonlinear(lambda h: _relu(h) ** 2, lambda h: 2 * _relu(h))),
    "unembedding": (((2, 5, 3), (7, 3), (7,)), {}, _unembedding),
    "attention": (((2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 7)), {}, _attention),
    "multi_head_attention": (((2, 5, 36),), {"n_head": 3}, _self_attention),
}


def inputs_of(name: str) -> tuple[list[Array], dict[str, Any], Expected]:
    shapes, options, expected = CASES[name]
    rng = np.random.default_rng(7)
    return [rng.standard_normal(shape) for shape in shapes], options, expected


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_its_formula_with_rounded_operands(name: str) -> None:
    inputs, options, expected = inputs_of(name)
    pair = text_pair(getattr(ops, name))
    y, saved = pair.forward(*inputs, **options, precision="bfloat16")
    dy = np.random.default_rng(8).standard_normal(y.shape)
    found = (y, *gradients_of(pair, dy, saved))
    for a, b in zip(found, expected(*inputs, dy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    exact, saved = pair.forward(*inputs, **options)
    in_full = (exact, *gradients_of(pair, dy, saved))
    bias = 3 if len(inputs) == 3 and inputs[2].ndim == 1 else None
    for place, (a, b) in enumerate(zip(found, in_full, strict=True)):
        if place != bias:  # which is in no product
            assert 1e-4 < np.abs(a - b).max() / np.abs(b).max() < 0.05
    assert y.dtype == np.float64


@pytest.mark.parametrize("name", CASES)
def test_in_float32_it_is_the_same_but_for_the_order_of_sums(name: str) -> None:
    inputs, options, expected = inputs_of(name)
    pair = text_pair(getattr(ops, name))
    single = [x.astype(np.float32) for x in inputs]
    y, saved = pair.forward(*single, **options, precision="bfloat16")
    dy = np.random.default_rng(8).standard_normal(y.shape).astype(np.float32)
    double = [x.astype(np.float64) for x in (*single, dy)]
    for a, b in zip((y, *gradients_of(pair, dy, saved)), expected(*double), strict=True):
        assert a.dtype == np.float32
        # An intermediate result near a tie may be rounded to the other side, by a unit of bfloat16.
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2 * float(np.abs(b).max()))
        assert np.median(np.abs(a - b)) < 1e-6 * float(np.abs(b).max())


@pytest.mark.parametrize("name", ["linear", "unembedding"])
def test_the_backward_is_that_of_float32_at_the_rounded_operands(name: str) -> None:
    """To the last bit. The rounding itself counts as the identity: central differences see steps in it instead."""
    inputs, _, _ = inputs_of(name)
    pair = text_pair(getattr(ops, name))
    x, weight, bias = (array.astype(np.float32) for array in inputs)
    y, saved = pair.forward(x, weight, bias, precision="bfloat16")
    dy = np.random.default_rng(8).standard_normal(y.shape).astype(np.float32)
    rounded_y, rounded = pair.forward(rounded_to_bfloat16(x), rounded_to_bfloat16(weight), bias)
    np.testing.assert_array_equal(y, rounded_y)
    dx, d_weight, d_bias = pair.backward(dy, saved)
    other = pair.backward(rounded_to_bfloat16(dy), rounded)
    np.testing.assert_array_equal(dx, other[0])
    np.testing.assert_array_equal(d_weight, other[1])
    np.testing.assert_array_equal(d_bias, pair.backward(dy, rounded)[2])  # no product: dy as it is


def test_the_scale_of_scores_is_in_none_of_their_operands() -> None:
    """With a scale that is no power of two, rounded scaled queries would be others than scaled rounded queries."""
    q, k, v, dy = (np.random.default_rng(3).standard_normal((2, 3, 5, 4)) for _ in range(4))
    y, saved = ops.attention(q, k, v, scale=0.3, precision="bfloat16")
    for a, b in zip((y, *ops.attention_backward(dy, saved)), _attention(q, k, v, dy, 0.3), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
def test_newton_schulz_rounds_the_operands_of_each_product(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(4).standard_normal(shape)
    x = (matrix if shape[0] < shape[1] else matrix.T) / np.sqrt(np.sum(matrix**2))
    a, b, c = COEFFICIENTS
    for _ in range(5):
        gram = np.einsum("ik,jk->ij", R(x), R(x))
        polynomial = a * np.eye(len(x)) + b * gram + c * np.einsum("ij,jk->ik", R(gram), R(gram))
        x = np.einsum("ij,jk->ik", R(polynomial), R(x))
    expected = x if shape[0] < shape[1] else x.T
    found = ops.newton_schulz(matrix, precision="bfloat16")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    exact = ops.newton_schulz(matrix)
    assert 1e-4 < np.abs(found - exact).max() < 0.1


def test_attention_to_a_cache_is_attention_with_rounded_operands() -> None:
    rng = np.random.default_rng(5)
    qkv = rng.standard_normal((2, 5, 36)).astype(np.float32)
    keys, values = (np.zeros((2, 3, 8, 4), np.float32) for _ in range(2))
    used = np.zeros(2, np.int64)
    cache = KeysAndValues(keys, values, np.arange(2), used, used)
    options: dict[str, Any] = {"n_head": 3, "scale": 0.3, "rope_base": 100.0, "precision": "bfloat16"}
    first = ops.cached_attention(qkv[:, :3], cache, **options)
    used += 3
    rest = ops.cached_attention(qkv[:, 3:], cache, **options)
    whole, _ = ops.multi_head_attention(qkv, **options)
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), whole, atol=1e-2)
    exact, _ = ops.multi_head_attention(qkv, **{**options, "precision": "float32"})
    assert np.abs(rest - exact[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("name", [*CASES, "newton_schulz"])
def test_an_unknown_precision_is_refused(name: str) -> None:
    inputs, options = ([np.ones((2, 3))], {}) if name == "newton_schulz" else inputs_of(name)[:2]
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16, not 'float16'"):
        getattr(ops, name)(*inputs, **options, precision="float16")
