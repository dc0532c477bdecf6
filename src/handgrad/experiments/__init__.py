"""Experiments: one text under several tokenizers, or under several recipes."""

from handgrad.experiments.budget import Budget, budgets_for
from handgrad.experiments.candidates import CANDIDATES, candidate
from handgrad.experiments.comparison import Comparison, Entry
from handgrad.experiments.measures import Curve, Measures, Writing, compare_with, measure
from handgrad.experiments.opening import open_comparison
from handgrad.experiments.recipe_comparison import RecipeComparison, RecipeEntry, create_recipe_comparison
from handgrad.experiments.recipe_table import recipe_table
from handgrad.experiments.recipes import LADDER, Recipe, configs_of, read_recipes
from handgrad.experiments.report import draw_panel, results_table, write_report
from handgrad.experiments.results import RecipeResults, known_results, read_recipe_results, read_results
from handgrad.experiments.tokenizer_comparison import TokenizerComparison, TokenizerEntry, create_comparison
from handgrad.experiments.tokenizer_table import table

__all__ = [
    "CANDIDATES",
    "Budget",
    "Comparison",
    "Curve",
    "Entry",
    "LADDER",
    "Measures",
    "Recipe",
    "RecipeComparison",
    "RecipeEntry",
    "RecipeResults",
    "TokenizerComparison",
    "TokenizerEntry",
    "Writing",
    "budgets_for",
    "candidate",
    "compare_with",
    "configs_of",
    "create_comparison",
    "create_recipe_comparison",
    "draw_panel",
    "known_results",
    "measure",
    "open_comparison",
    "read_recipe_results",
    "read_recipes",
    "read_results",
    "recipe_table",
    "results_table",
    "table",
    "write_report",
]
