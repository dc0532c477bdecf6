"""The check of bfloat16: right code passes, and each likely mistake is found.

The code that is checked here is the NumPy code in float32, in place of a kernel; a fault is planted in it alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handgrad.backend import Pair, text_pair
from handgrad.checking import bfloat16, check_kernels_in_bfloat16, check_rounding
from handgrad.ops import precision
from handgrad.system.arrays import Array

Rounding = Callable[[Array], Array]
right, flushed = precision.rounded_to_bfloat16, precision.without_denormals


def use_as_kernel(monkeypatch: pytest.MonkeyPatch, rounding: Rounding = right) -> None:
    """The NumPy code counts as a kernel; in float32, in which only it computes, it rounds by ``rounding``."""

    def pair_for(operation: Any, inputs: Any, options: Any) -> Pair:
        text = text_pair(operation)
        return Pair(text.name, lambda *given, **named: text.forward(*given, **named), text.backward)

    def function_for(operation: Any, *inputs: Any) -> Any:
        return lambda *given, **named: operation(*given, **named)

    monkeypatch.setattr(bfloat16, "pair_for", pair_for)
    monkeypatch.setattr(bfloat16, "function_for", function_for)
    monkeypatch.setattr(precision, "rounded_to_bfloat16", lambda x: (rounding if x.dtype == np.float32 else right)(x))


def bits_of(x: Array) -> Array:
    return x.view(np.uint32)


def cut_off(x: Array) -> Array:
    return flushed((bits_of(x) & 0xFFFF0000).astype(np.uint32).view(np.float32))


def half_away_from_zero(x: Array) -> Array:
    rounded = ((bits_of(flushed(x)) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(x), x, rounded)


def nan_as_a_number(x: Array) -> Array:
    bits = bits_of(flushed(x))
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).astype(np.uint32).view(np.float32)


def keeps_denormals(x: Array) -> Array:
    return np.where(np.abs(x) < 2.0**-126, x, right(x))


def without_infinities(x: Array) -> Array:
    y = right(x)
    return np.where(np.isinf(y), np.copysign(np.float32(3.3895314e38), x), y)


def leaves_the_weight(x: Array) -> Array:
    return x if x.shape in ((67, 41), (41, 67)) else right(x)


FAULTS: dict[str, tuple[Rounding, set[str]]] = {
    "cut off": (
        cut_off,
        {
            "kernel linear, bfloat16: output",
            "kernel unembedding, bfloat16: gradient 2",
            "kernel linear, bfloat16, rounding: normal numbers, dy, for weight",
            *(f"kernel {name}, bfloat16: output" for name in bfloat16.FUSED),
            "kernel multi_head_attention, bfloat16: gradient 1",
            "kernel newton_schulz, bfloat16: tall, 1 step",
        },
    ),
    "half away from zero": (half_away_from_zero, {"kernel linear, bfloat16, rounding: ties, x"}),
    "NaN as a number": (
        nan_as_a_number,
        {
            "kernel linear, bfloat16, rounding: NaN, weight",
            "kernel linear, bfloat16, special numbers: output",
            "kernel unembedding, bfloat16, special numbers: gradient 1",
        },
    ),
    "denormals kept": (
        keeps_denormals,
        {"kernel linear, bfloat16, rounding: denormal numbers and zeros, x"},
    ),
    "no infinities": (
        without_infinities,
        {
            "kernel linear, bfloat16, rounding: large numbers and infinities, dy, for x",
            "kernel linear, bfloat16, special numbers: output",
        },
    ),
    "no rounding": (lambda x: x, {"kernel linear, bfloat16: output", "kernel attention, bfloat16: gradient 3"}),
    "one operand alone": (leaves_the_weight, {"kernel linear_gelu, bfloat16: output"}),
}


def wrong_results() -> set[str]:
    return {f"{result.subject}: {result.part}" for result in check_kernels_in_bfloat16() if not result.passed}


def test_right_code_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_as_kernel(monkeypatch)
    results = list(check_kernels_in_bfloat16())
    assert [result for result in results if not result.passed] == []
    names = {result.subject.partition(",")[0] for result in results}
    assert names == {f"kernel {name}" for name in (*bfloat16.PLAIN, *bfloat16.FUSED, "newton_schulz")}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rounding, expected = FAULTS[fault]
    use_as_kernel(monkeypatch, rounding)
    assert expected - wrong_results() == set()


def test_ties_and_special_numbers_alone_are_not_found_in_ordinary_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the cases of their own are needed."""
    use_as_kernel(monkeypatch, half_away_from_zero)
    assert "kernel linear, bfloat16: output" not in wrong_results()


def test_a_kernel_that_does_not_take_bfloat16_is_no_check_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    use_as_kernel(monkeypatch)
    monkeypatch.setattr(bfloat16, "pair_for", lambda operation, inputs, options: text_pair(operation))
    with pytest.raises(ValueError, match="linear: bfloat16 does not run with a kernel"):
        list(check_kernels_in_bfloat16())


@pytest.mark.parametrize(
    ("rounding", "kind"),
    [
        (cut_off, "normal numbers"),
        (half_away_from_zero, "ties"),
        (nan_as_a_number, "NaN"),
        (keeps_denormals, "denormal numbers and zeros"),
        (without_infinities, "large numbers and infinities"),
    ],
)
def test_a_wrong_definition_is_found(rounding: Rounding, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(result.passed for result in check_rounding())
    in_float32 = rounding
    monkeypatch.setattr(bfloat16, "rounded_to_bfloat16", lambda x: in_float32(x) if x.dtype == np.float32 else right(x))
    assert kind in {result.part for result in check_rounding() if not result.passed}


# Overflow, of which the order of the terms may decide

LARGE = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("found", "exact", "size", "is_right"),
    [
        (np.inf, 2 * LARGE, 2 * LARGE, True),
        (LARGE, 2 * LARGE, 2 * LARGE, False),  # all terms have one sign: every order overflows
        (-np.inf, 2 * LARGE, 2 * LARGE, False),
        (np.inf, 1.0, 2 * LARGE, True),
        (np.nan, 1.0, 2 * LARGE, True),
        (1.0, 1.0, 2 * LARGE, True),
        (np.inf, LARGE / 2, LARGE / 2, False),
        (np.nan, 1.0, 2.0, False),
        (1.0, np.nan, np.nan, False),
        (np.inf, np.nan, np.nan, False),
        (np.nan, np.nan, np.nan, True),
        (np.inf, np.inf, np.inf, True),
        (-np.inf, np.inf, np.inf, False),
        (LARGE, np.inf, np.inf, False),
        (1 + 2.0**-20, 1.0, 1.0, True),
        (1 + 2.0**-9, 1.0, 1.0, False),
        (2.0**-126, 0.0, 0.0, True),  # where the order decides whether a sum is denormal
        (2.0**-120, 0.0, 0.0, False),
    ],
)
def test_what_a_sum_may_be(found: float, exact: float, size: float, is_right: bool) -> None:
    arrays = (np.array([found], np.float32), np.array([exact]), np.array([size]))
    assert (bfloat16._share_of_sums(*arrays, terms=17) <= 1) is is_right
