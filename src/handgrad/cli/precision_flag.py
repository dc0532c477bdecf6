"""``--precision auto``, and what a user should know about bfloat16 on this machine."""

from handgrad.ops.precision import Precision
from handgrad.system.backend_setting import current_backend
from handgrad.system.processor import why_bfloat16_is_slow

FLAG = "--precision"


def with_chosen_precision(argv: list[str]) -> list[str]:
    """The arguments with the precision that suits this machine in place of ``auto``."""
    chosen = list(argv)
    for place, word in enumerate(argv):
        if word == f"{FLAG}=auto":
            chosen[place] = f"{FLAG}={best_precision()}"
        elif word == "auto" and place and argv[place - 1] == FLAG:
            chosen[place] = best_precision()
    return chosen


def best_precision() -> Precision:
    """bfloat16 if compiled kernels run and the processor multiplies such numbers faster; else float32."""
    return "bfloat16" if _why_slow() is None else "float32"


def slow_precision(precision: Precision) -> str | None:
    """A sentence if bfloat16 is slower than float32 here; None otherwise."""
    why = _why_slow() if precision == "bfloat16" else None
    return why and f"precision bfloat16 is slower than float32 here, with the same rounding as elsewhere: {why}"


def _why_slow() -> str | None:
    if current_backend() != "numba":
        return "the backend is numpy, which rounds numbers before each product"
    return why_bfloat16_is_slow()
