"""What a check found."""

import math
from dataclasses import dataclass

TOLERANCE = 1e-6
"""The largest error that a right gradient may show; most show less than 1e-9."""


@dataclass(frozen=True)
class Result:
    """The error of one gradient by hand, or of a compiled kernel."""

    subject: str
    """The operation, layer or model."""
    part: str
    """Which input or parameter the gradient is for."""
    error: float
    """max|a - n| / max(max|a|, max|n|, 1e-3) between the gradient by hand and central differences."""
    tolerance: float = TOLERANCE
    """The largest error that passes."""

    @property
    def passed(self) -> bool:
        return not math.isnan(self.error) and self.error <= self.tolerance
