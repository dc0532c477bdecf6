"""Experiments: one text and one model's shape under several tokenizers."""

from handgrad.experiments.budget import Budget, budgets_for
from handgrad.experiments.candidates import CANDIDATES, candidate
from handgrad.experiments.measures import Curve, Measures, Writing, compare_with, measure
from handgrad.experiments.report import draw_panel, known_results, read_results, table, write_report
from handgrad.experiments.tokenizer_comparison import Entry, TokenizerComparison, create_comparison, open_comparison

__all__ = [
    "CANDIDATES",
    "Budget",
    "TokenizerComparison",
    "Curve",
    "Entry",
    "Measures",
    "Writing",
    "budgets_for",
    "candidate",
    "compare_with",
    "create_comparison",
    "draw_panel",
    "known_results",
    "measure",
    "open_comparison",
    "read_results",
    "table",
    "write_report",
]
