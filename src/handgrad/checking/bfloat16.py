"""Products of bfloat16: the rounding itself, and every compiled kernel that multiplies against ``ops``.

``ops`` computes in float64 from the same float32 inputs: it rounds the operands of products and sums them almost
exactly. The error of a result is given as a share of what the rounding of float32 sums allows, so that above 1 it is
wrong.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.backend import Pair, function_for, gradients_of, pair_for, text_pair
from handgrad.checking.kernels import cases_with_views, cases_without_elements, kernel_cases
from handgrad.checking.results import COMPILED_TOLERANCE, Result
from handgrad.ops.precision import rounded_to_bfloat16
from handgrad.system.arrays import Array

PLAIN = ("linear", "unembedding")
"""Products and nothing else: the bound of their error is known for each element."""
FUSED = ("linear_gelu", "linear_relu", "linear_relu_squared", "attention", "multi_head_attention")
"""What one product gives enters another, after it was rounded to bfloat16 once more."""

_UNIT = 2.0**-7
"""The largest distance of two neighbours of bfloat16, relative to them."""
_SMALLEST_NORMAL, _LARGEST = 2.0**-126, float(np.finfo(np.float32).max)
_NAN = (0x7F800001, 0x7F80FFFF, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF)
"""Bits of NaN: signalling, quiet, of both signs. Rounding as a number would make the first two infinite, and the last
one zero."""


# -- the rounding


def check_rounding() -> Iterator[Result]:
    """``rounded_to_bfloat16`` against the nearest number by another way, in float32 and in float64."""
    for kind, x in _kinds_of_numbers().items():
        expected = _nearest(x)
        with np.errstate(invalid="ignore"):  # of signalling NaN
            found = (rounded_to_bfloat16(x), rounded_to_bfloat16(x.astype(np.float64)).astype(np.float32))
        error = max(_all_equal(each, expected) for each in found)
        yield Result("rounding to bfloat16", kind, None, bfloat16=error)


def _kinds_of_numbers() -> dict[str, Array]:
    """Float32 numbers of every kind: normal ones of random bits, ties, and all those of a rule of their own."""
    rng = np.random.default_rng(2031)
    random = _of_bits(rng.integers(0, 1 << 32, 1 << 14, np.uint32))
    size = np.abs(random)
    exponents_and_more = rng.integers(0x0080, 0x7F7F, 1 << 10, np.uint32) << np.uint32(16)
    ties = _of_bits(exponents_and_more | np.uint32(0x8000))
    denormal = _of_bits(rng.integers(1, 1 << 23, 1 << 8, np.uint32))
    # The largest number that stays finite, and the tie above it.
    large = _of_bits(np.array([0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000], np.uint32))
    return {
        "normal numbers": random[(size >= _SMALLEST_NORMAL) & (size < 3e38)],
        "ties": np.concatenate([ties, -ties]),
        "NaN": _of_bits(np.array(_NAN, np.uint32)),
        "large numbers and infinities": np.concatenate([large, -large]),
        "denormal numbers and zeros": np.concatenate([denormal, -denormal, np.array([0.0, -0.0], np.float32)]),
    }


def _of_bits(bits: Array) -> Array:
    return bits.astype(np.uint32).view(np.float32)


def _nearest(x: Array) -> Array:
    """8 bits of the fraction; of two that are equally near the even one, as ``np.rint`` has it."""
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.where(np.abs(x) < _SMALLEST_NORMAL, np.copysign(0.0, x), x.astype(np.float64))
        fraction, exponent = np.frexp(x)
        y = np.ldexp(np.rint(fraction * 256) / 256, exponent)
        return np.where(np.isfinite(x), y, x).astype(np.float32)


def _all_equal(found: Array, expected: Array) -> float:
    """0 if all are equal, zeros in their signs too, and NaN to every NaN; else infinity."""
    is_nan = np.isnan(expected)
    same = np.where(is_nan, np.isnan(found), (found == expected) & (np.signbit(found) == np.signbit(expected)))
    return 0.0 if found.shape == expected.shape and same.all() else float("inf")


# -- kernels


def check_kernels_in_bfloat16() -> Iterator[Result]:
    """A result for the output and each gradient of each kernel that multiplies.

    Raises ValueError if the backend does not run one of them with a kernel.
    """
    cases = kernel_cases()
    for name in PLAIN:
        inputs, options = cases[name]
        yield from _check_plain(f"kernel {name}, bfloat16", name, [(inputs, options, None)])
        yield from _check_plain(f"kernel {name}, bfloat16, special numbers", name, _special(inputs, options))
        empty = [(case, given, None) for case, given, _ in cases_without_elements(inputs, options)]
        yield from _check_plain(f"kernel {name}, bfloat16, no elements", name, empty)
        views = [(case, given, None) for case, given, _ in cases_with_views(name, inputs, options)]
        yield from _check_plain(f"kernel {name}, bfloat16, views", name, views)
    yield from _check_rounding_of_linear()
    for name in FUSED:
        yield from _check_fused(name, *cases[name])
    (matrix,), options = cases["newton_schulz"]
    yield from _check_newton_schulz(matrix, options)


Case = tuple[tuple[Array, ...], dict[str, Any], Array | None]
"""Inputs, options, and dy; normal numbers if it is None."""


def _both(name: str, case: Case) -> tuple[list[Array], list[Array], list[Array]]:
    """Output and gradients by the kernel and by ``ops`` in float64, and by ``ops`` from absolute values."""
    inputs, options, dy = case
    options = {**options, "precision": "bfloat16"}
    operation = getattr(ops, name)
    kernel, text = pair_for(operation, inputs, options), text_pair(operation)
    if kernel == text:
        raise ValueError(f"{name}: bfloat16 does not run with a kernel")
    if dy is None:
        shape = text.forward(*inputs, **options)[0].shape
        dy = np.random.default_rng(13).standard_normal(shape).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        double = [x.astype(np.float64) for x in (*inputs, dy)]
        found = _outputs(kernel, options, [*inputs, dy])
        return found, _outputs(text, options, double), _outputs(text, options, [np.abs(x) for x in double])


def _outputs(pair: Pair, options: dict[str, Any], inputs_and_dy: list[Array]) -> list[Array]:
    *inputs, dy = inputs_and_dy
    y, saved = pair.forward(*inputs, **options)
    return [y, *gradients_of(pair, dy, saved)]


def _names(results: list[Array]) -> list[str]:
    return ["output", *(f"gradient {i}" for i in range(1, len(results)))]


def _check_plain(subject: str, name: str, cases: Iterable[Case]) -> Iterator[Result]:
    errors: dict[str, float] = {}
    for case in cases:
        found, exact, sizes = _both(name, case)
        x, weight = case[0][:2]
        inner, outer = weight.shape if name == "linear" else weight.shape[::-1]
        rows = x.size // max(x.shape[-1], 1)
        for part, a, b, size, terms in zip(_names(found), found, exact, sizes, (inner, outer, rows, rows), strict=True):
            errors[part] = max(errors.get(part, 0.0), _share_of_sums(a, b, size, terms))
    for part, error in errors.items():
        yield Result(subject, part, None, bfloat16=error)


def _share_of_sums(found: Array, exact: Array, size: Array, terms: int) -> float:
    """The largest error as a share of what the rounding of a float32 sum allows; infinity if a special number is wrong.

    Products of two numbers of bfloat16 are exact in float32. Each of the K additions rounds by at most 2⁻²⁴ of the sum
    so far, which is at most ``size``, Σ |a| |b|; a denormal sum may become zero. If sums so far can be too large for
    float32, the order of the terms decides whether they are, and every result that is not finite is right.
    """
    if found.shape != exact.shape:
        return float("inf")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        allowed = (terms + 2) * 2.0**-23 * size + terms * _SMALLEST_NORMAL
        difference = np.abs(found - exact)
        share = np.where(difference == 0, 0.0, difference / allowed)
        same = np.where(np.isnan(exact), np.isnan(found), found == exact)
        may_overflow = np.isfinite(size) & (size > _LARGEST * (1 - 2.0**-16))
        must_overflow = (np.abs(exact) == size) & (size > _LARGEST * (1 + 2.0**-16))
        infinite = found == np.copysign(np.inf, exact)
        overflowed = np.where(must_overflow, infinite, (share <= 1) | ~np.isfinite(found))
    right_or_not = np.where(np.isfinite(exact), overflowed, same)
    is_counted = np.isfinite(exact) & ~may_overflow
    shares = np.where(is_counted, share, np.where(right_or_not, 0.0, np.inf))
    return float(np.where(np.isnan(shares), np.inf, shares).max(initial=0.0))


def _special(inputs: tuple[Array, ...], options: dict[str, Any]) -> Iterator[Case]:
    """Each input in turn, and dy, has some numbers of one kind among normal ones, and is full of them."""
    rng = np.random.default_rng(2033)
    x, _, bias = inputs
    dy = rng.standard_normal((*x.shape[:-1], bias.size)).astype(np.float32)
    kinds: dict[str, Array] = {
        "zeros": np.array([0.0, -0.0], np.float32),
        "NaN": _of_bits(np.array(_NAN, np.uint32)),
        "infinities": np.array([np.inf, -np.inf], np.float32),
        "infinite once rounded": np.array([_LARGEST, -_LARGEST], np.float32),
        "denormal numbers": np.array([1e-45, -1e-40, 1.1e-38], np.float32),
        "products that are denormal": np.array([2.0**-126, -(2.0**-120)], np.float32),
        "overflowing sums": np.array([1e38, -1e38], np.float32),
    }
    for special in kinds.values():
        for place in range(len(inputs) + 1):
            for share in (0.02, 1.0):
                arrays = [x.copy() for x in (*inputs, dy)]
                chosen = rng.random(arrays[place].shape) < share
                arrays[place][chosen] = rng.choice(special, int(chosen.sum()))
                yield tuple(arrays[:-1]), options, arrays[-1]
    full = [np.full_like(x, 1e38) for x in (*inputs, dy)]
    yield tuple(full[:-1]), options, full[-1]


def _check_rounding_of_linear() -> Iterator[Result]:
    """Products of one term with a power of two are the rounded numbers, times this power, to the last bit.

    The power is 1, but for denormal numbers, which it would make normal if they did not count as zeros.
    """
    none = np.zeros(1, np.float32)
    for kind, numbers in _kinds_of_numbers().items():
        one = np.full((1, 1), 2.0**30 if kind.startswith("denormal") else 1.0, np.float32)
        column, row, expected = numbers[:, None], numbers[None], _nearest(numbers) * one[0, 0]
        by_column, by_row = (
            _both("linear", ((column, one, none), {}, column))[0],
            _both("linear", ((one, row, np.zeros(numbers.size, np.float32)), {}, row))[0],
        )
        rounded = {"x": by_column[0], "dy, for x": by_column[1], "weight": by_row[0], "dy, for weight": by_row[2]}
        for part, found in rounded.items():
            # A sum of products may have lost the sign of a zero.
            error = _all_equal(np.abs(found.ravel()), np.abs(expected))
            signs = np.sign(np.nan_to_num(found.ravel())) == np.sign(np.nan_to_num(expected))
            error = error if signs.all() else float("inf")
            yield Result("kernel linear, bfloat16, rounding", f"{kind}, {part}", None, bfloat16=error)


def _check_fused(name: str, inputs: tuple[Array, ...], options: dict[str, Any]) -> Iterator[Result]:
    found, exact, _ = _both(name, (inputs, options, None))
    for part, a, b in zip(_names(found), found, exact, strict=True):
        yield Result(f"kernel {name}, bfloat16", part, None, bfloat16=_share_of_steps(a, b))


def _share_of_steps(found: Array, exact: Array) -> float:
    """The largest error as a share of two units of bfloat16, or the typical error as one of what float32 allows.

    An intermediate result that lies near the middle of two numbers of bfloat16 may be rounded to the other one, because
    it was summed in another order. This is rare. Some results of the next product are then off by parts of a unit;
    most, and so the median of the errors, are as exact as in float32.
    """
    if found.shape != exact.shape:
        return float("inf")
    size = float(np.abs(exact).max(initial=0))
    error = np.abs(found - exact)[(found != 0) | (exact != 0)]  # relu makes half of them zeros
    if not error.size:
        return 0.0
    typical = float(np.median(error)) / (COMPILED_TOLERANCE * max(1.0, size))
    return max(float(error.max()) / (2 * _UNIT * size), typical)


def _check_newton_schulz(matrix: Array, options: dict[str, Any]) -> Iterator[Result]:
    """One step from a wide and from a tall matrix; and all five. Each of these multiplies what was rounded otherwise in
    the steps before by up to 3.4, so that only the largest error is bounded, by 16 units.
    """
    orthogonalise = function_for(ops.newton_schulz, matrix)
    if orthogonalise is ops.newton_schulz:
        raise ValueError("newton_schulz: bfloat16 does not run with a kernel")
    for shape, x in (("wide", matrix), ("tall", np.ascontiguousarray(matrix.T))):
        for steps in (1, 5):
            given = {**options, "steps": steps, "precision": "bfloat16"}
            found, exact = orthogonalise(x, **given), ops.newton_schulz(x.astype(np.float64), **given)
            size = float(np.abs(exact).max())
            coarse = float(np.abs(found - exact).max()) / (16 * _UNIT * size)
            error = _share_of_steps(found, exact) if steps == 1 else coarse
            part = f"{shape}, {steps} {'step' if steps == 1 else 'steps'}"
            yield Result("kernel newton_schulz, bfloat16", part, None, bfloat16=error)
