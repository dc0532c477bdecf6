"""The result of a check."""

import math
from collections.abc import Iterator
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

    bfloat16: float | None = None
    """The error of a result in bfloat16, as a share of what rounding allows (``checking.bfloat16``); None if it was not
    checked in bfloat16."""

    furthest: str = ""
    """The element of a wrong gradient that is furthest off, if it is known."""

    @property
    def passed(self) -> bool:
        return (
            _within(self.error, TOLERANCE)
            and _within(self.tape, TAPE_TOLERANCE)
            and _within(self.compiled, COMPILED_TOLERANCE)
            and _within(self.bfloat16, 1.0)
        )


def _within(error: float | None, tolerance: float) -> bool:
    return error is None or (not math.isnan(error) and error <= tolerance)


PART_WIDTH = 48
"""How much room the names have in a table of errors."""


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check of a user's two functions found. True if they are right; ``print`` shows rows and sentences."""

    results: list[Result]
    """The error of each gradient; empty if the functions could not be run."""
    faults: list[str]
    """What is wrong, one sentence each; empty if all is right."""
    proven: str = ""
    """What was proven, if all is right."""

    @property
    def passed(self) -> bool:
        return not self.faults

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The heading, a row for each gradient, and what is wrong or proven."""
        if self.results:
            yield f"{'error of the gradient of':{PART_WIDTH}}  by hand  on the tape"
            yield self.results[0].subject
        for result in self.results:
            wrong = "" if result.passed else "  WRONG" + (f", most at {result.furthest}" if result.furthest else "")
            yield in_columns(f"  {result.part:{PART_WIDTH - 2}}", result.error, result.tape) + wrong
        if self.results:
            yield ""
        yield from self.faults or [self.proven]


def in_columns(name: str, *errors: float | None) -> str:
    """A row: a name, and the errors under "by hand  on the tape  compiled  bfloat16"."""
    columns = [
        f"{'' if value is None else f'{value:.1e}':{width}}"
        for value, width in zip(errors, (7, 11, 8, 8), strict=False)
    ]
    return "  ".join([name, *columns]).rstrip()
