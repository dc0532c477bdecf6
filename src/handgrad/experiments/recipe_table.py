"""The table of a comparison of recipes: a row for each."""

import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise

from handgrad.experiments.measures import SAMPLE_TOKENS, Measures
from handgrad.experiments.results import RecipeResults
from handgrad.experiments.tokenizer_table import NOT_COMPARABLE

NOTES = (
    "The table gives the best evaluation of each run, over all of the validation text. Losses are mean nats per token; "
    "the training loss is the mean of the last 20 logged steps. A change of bits per character below zero is an "
    "improvement. With several seeds, each number is a mean, and ± is half of the distance between the best and the "
    "worst seed: differences as small as that say nothing. The seconds are those of all steps at the median rate, "
    "without evaluations."
)
SAMPLE_NOTE = f"The beginning of {SAMPLE_TOKENS} tokens from the best checkpoint of each."


def recipe_table(results: RecipeResults) -> list[list[str]]:
    """The rows of the table; the first is its head. A recipe of which no run is measured is missing."""
    measured = {recipe.name: runs for recipe in results.recipes if (runs := results.measured.get(recipe.name))}
    names = list(measured)
    head = ["", "parameters", "steps", "training loss", "validation loss", "**bits per character**", "from the first"]
    bits = {name: _bits(measured[name]) for name in names}
    columns: list[Callable[[str], str]] = [
        lambda name: f"{measured[name][0].parameters:,}",
        lambda name: f"{measured[name][0].steps:,}",
        lambda name: _mean(measured[name], lambda one: one.training_loss),
        lambda name: _mean(measured[name], lambda one: one.best_validation_loss),
        lambda name: _mean(measured[name], lambda one: one.best_bits_per_character),
        lambda name: _change(bits[names[0]], bits[name]) if name != names[0] else "",
    ]
    if results.is_ladder:
        before = {later: earlier for earlier, later in pairwise(names)}
        head.append("from above")
        columns.append(lambda name: _change(bits[before[name]], bits[name]) if name in before else "")
    head.append("seconds")
    columns.append(lambda name: f"{_seconds(measured[name]):,.0f}")
    return [head, *([name, *(tell(name) for tell in columns)] for name in names)]


def changes_table(results: RecipeResults) -> list[list[str]]:
    """What each recipe changes, as rows of a table."""
    rows = [["", "what changes", "settings"]]
    for recipe in results.recipes:
        settings = ", ".join(
            f"`{name}` unset" if value is None else f"`{name} = {as_toml(value)}`"
            for name, value in recipe.changes.items()
        )
        rows.append([recipe.name, recipe.says, settings.replace("|", "\\|") or "none"])
    return rows


def as_toml(value: object) -> str:
    """A setting as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value}"


def _bits(runs: Sequence[Measures]) -> float | None:
    bits = [one.best_bits_per_character for one in runs]
    return None if None in bits else statistics.fmean(value for value in bits if value is not None)


def _mean(runs: Sequence[Measures], tell: Callable[[Measures], float | None]) -> str:
    values = [value for one in runs if (value := tell(one)) is not None]
    if len(values) < len(runs):
        return NOT_COMPARABLE
    spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def _change(before: float | None, after: float | None) -> str:
    return NOT_COMPARABLE if before is None or after is None else f"{after - before:+.3f}".replace("-", "−")


def _seconds(runs: Sequence[Measures]) -> float:
    return statistics.fmean(one.tokens_seen / one.tokens_per_second for one in runs)
