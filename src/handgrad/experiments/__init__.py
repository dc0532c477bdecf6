"""Experiments: one text and one model's shape under several tokenizers."""

from handgrad.experiments.budget import Budget, budgets_for
from handgrad.experiments.candidates import CANDIDATES
from handgrad.experiments.comparison import Comparison, Entry, create_comparison, open_comparison
from handgrad.experiments.measures import Measures, Writing, compare_with, measure

__all__ = [
    "CANDIDATES",
    "Budget",
    "Comparison",
    "Entry",
    "Measures",
    "Writing",
    "budgets_for",
    "compare_with",
    "create_comparison",
    "measure",
    "open_comparison",
]
