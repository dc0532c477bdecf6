"""Comparison with PyTorch and JAX: a training step of each as a callable, times in turn, peaks of memory, profiles.

In a program:
    from handgrad.benchmarking import alternate, case_of, handgrad_contender, pytorch_contender
    case = case_of("explicit-char")
    times = alternate([handgrad_contender(case), pytorch_contender(case)], rounds=20)
    times.ratio("handgrad", "PyTorch eager")
"""

from handgrad.benchmarking.cases import Case, case_of
from handgrad.benchmarking.contenders import (
    Contender,
    handgrad_contender,
    has_torch,
    jax_contender,
    pytorch_contender,
    transformers_contender,
)
from handgrad.benchmarking.floor import flops_of, products_contender
from handgrad.benchmarking.profile import Row, profile
from handgrad.benchmarking.side_by_side import BenchmarkResult, as_json, compare, machine, pytorch_contenders
from handgrad.benchmarking.timing import Times, alternate

__all__ = [
    "Case",
    "BenchmarkResult",
    "Contender",
    "Row",
    "Times",
    "alternate",
    "as_json",
    "case_of",
    "compare",
    "products_contender",
    "flops_of",
    "has_torch",
    "jax_contender",
    "machine",
    "handgrad_contender",
    "profile",
    "pytorch_contender",
    "pytorch_contenders",
    "transformers_contender",
]
