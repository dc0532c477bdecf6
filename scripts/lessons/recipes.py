"""The experiment with recipes: its tables, and its curves in bits per character. Its command makes the runs."""

from types import SimpleNamespace
from typing import Any

import pages
import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.experiments import RecipeResults, read_recipe_results, recipe_table
from handgrad.experiments.recipe_table import changes_table
from handgrad.experiments.report import curves_of, first_and_last, markdown_table, samples_side_by_side
from handgrad.plotting.bits import draw_panels_by_steps

RESULTS = pages.DOCS / "experiments" / "recipes" / "results.json"
TRIED = RESULTS.with_name("tried.json")


def measured() -> RecipeResults:
    """What the command left."""
    return read_recipe_results(RESULTS)


def measure() -> dict[str, Any]:
    """Takes the curves from the results that the command left."""
    return {
        name: {
            field: [round(value, 4) for value in getattr(curve, field)] for field in ("steps", "seconds", "validation")
        }
        for name, curve in curves_of(measured()).items()
    }


def check(data: dict[str, Any]) -> str | None:
    assert data == measure()
    return None


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    return dict(style.two_ways("", _draw, data, sharey=True))


def _draw(by_steps: Axes, by_time: Axes, data: dict[str, Any]) -> None:
    draw_panels_by_steps({name: SimpleNamespace(**curve) for name, curve in data.items()}, by_steps, by_time)
    by_time.set_ylim(by_steps.get_ylim())
    for axes, ylabel in ((by_steps, "bits per character"), (by_time, "")):
        style.plain(axes, "", axes.get_xlabel(), ylabel)


def tables(data: dict[str, Any]) -> dict[str, str]:
    results = measured()
    return {
        "recipes": markdown_table(recipe_table(results)),
        "recipe-changes": markdown_table(changes_table(results), numbers=False),
        "recipes-tried": markdown_table([row[:-1] for row in recipe_table(read_recipe_results(TRIED))]),
        "recipe-changes-tried": markdown_table(
            _settings_alone(changes_table(read_recipe_results(TRIED))), numbers=False
        ),
        "recipe-samples": samples_side_by_side(first_and_last(results)),
    }


def _settings_alone(rows: list[list[str]]) -> list[list[str]]:
    """Recipes from files say only which file they are from."""
    return [[name, settings] for name, _, settings in rows]
