"""Side by side with PyTorch: one training step of each as a callable, times in turn, peaks of memory, profiles.

In a program:
    from handgrad.benchmarking import alternate, case_of, ours, torchs
    times = alternate([ours(case_of("explicit-char")), torchs(case_of("explicit-char"))], rounds=20)
    times.ratio("handgrad", "PyTorch eager")
"""

from handgrad.benchmarking.cases import Case, case_of
from handgrad.benchmarking.comparison import Comparison, as_json, compare, machine
from handgrad.benchmarking.contenders import Contender, has_torch, ours, torchs
from handgrad.benchmarking.floor import floor, flops_of
from handgrad.benchmarking.profile import Row, profile
from handgrad.benchmarking.timing import Times, alternate

__all__ = [
    "Case",
    "Comparison",
    "Contender",
    "Row",
    "Times",
    "alternate",
    "as_json",
    "case_of",
    "compare",
    "floor",
    "flops_of",
    "has_torch",
    "machine",
    "ours",
    "profile",
    "torchs",
]
