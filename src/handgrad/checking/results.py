"""What a check found."""

import math
from dataclasses import dataclass

TOLERANCE = 1e-6
"""The largest error that a right gradient may show; most show less than 1e-9."""
TAPE_TOLERANCE = 1e-12
"""The largest difference, relative to the largest element, between a gradient on the tape and the one by hand."""


@dataclass(frozen=True)
class Result:
    """The error of one gradient by hand and on the tape, or of a compiled kernel."""

    subject: str
    """The operation, layer or model."""
    part: str
    """Which input or parameter the gradient is for."""
    error: float
    """max|a - n| / max(max|a|, max|n|, 1e-3) between the gradient by hand and central differences."""
    tolerance: float = TOLERANCE
    """The largest error that passes."""
    tape: float | None = None
    """max|t - a| / max(max|t|, max|a|, 1e-3) between the gradient on the tape and by hand; None where there is none."""

    @property
    def passed(self) -> bool:
        return _within(self.error, self.tolerance) and (self.tape is None or _within(self.tape, TAPE_TOLERANCE))


def _within(error: float, tolerance: float) -> bool:
    return not math.isnan(error) and error <= tolerance
