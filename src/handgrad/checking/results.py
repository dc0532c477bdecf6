"""The result of a check."""

import math
from dataclasses import dataclass

TOLERANCE = 1e-6
"""The largest error of a right gradient; most are below 1e-9."""
TAPE_TOLERANCE = 1e-12
"""The largest difference, relative to the largest element, between a gradient on the tape and the one by hand."""

COMPILED_TOLERANCE = 1e-5
"""The largest difference between compiled code in float32 and NumPy in float64."""


@dataclass(frozen=True)
class Result:
    """The error of one gradient by hand and on the tape, or of a compiled kernel."""

    subject: str
    """The operation, layer or model."""
    part: str
    """Which input or parameter the gradient is for."""
    error: float | None
    """max|a - n| / max(max|a|, max|n|, 1e-3) between the gradient by hand and central differences; None if only
    compiled code was checked."""
    tape: float | None = None
    """max|t - a| / max(max|t|, max|a|, 1e-3) between the gradient on the tape and by hand; None without a tape."""

    compiled: float | None = None
    """max|c - a| / max(1, max|a|) between the gradient by compiled code in float32 and by NumPy in float64, from
    the same float32 inputs; None without compiled code."""

    @property
    def passed(self) -> bool:
        return (
            _within(self.error, TOLERANCE)
            and _within(self.tape, TAPE_TOLERANCE)
            and _within(self.compiled, COMPILED_TOLERANCE)
        )


def _within(error: float | None, tolerance: float) -> bool:
    return error is None or (not math.isnan(error) and error <= tolerance)
