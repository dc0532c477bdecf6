"""The results of a comparison in its directory: a table, samples side by side, JSON and pictures."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from handgrad.experiments.comparison import Comparison
from handgrad.experiments.measures import Curve, Measures
from handgrad.experiments.recipe_comparison import RecipeComparison
from handgrad.experiments.recipe_table import NOTES as RECIPE_NOTES
from handgrad.experiments.recipe_table import SAMPLE_NOTE, changes_table, recipe_table
from handgrad.experiments.results import RecipeResults, by_recipe, panel_of, write_results
from handgrad.experiments.tokenizer_table import NOTES, table
from handgrad.runs import Run
from handgrad.system.files import write_atomically

_SHOWN_SAMPLE = 600
"""Characters of a sample that the report shows."""


def draw_panel(comparison: Comparison[Any], run: Run, name: str) -> None:
    """Draws the curves of a run for the report."""
    from handgrad.plotting import plot_runs  # matplotlib is slow to import

    plot_runs({name: run}, comparison.path / panel_of(name))


def write_report(comparison: Comparison[Any], measured: Mapping[str, Measures], missing: Mapping[str, str]) -> None:
    """Writes results.json, bits.png and results.md, in the order of the comparison.

    ``missing``: for each run that is not in the table, a sentence that says why.
    """
    from handgrad.plotting import plot_bits

    ordered = [measured[entry.name] for entry in comparison.entries if entry.name in measured]
    if curves := _curves(comparison, ordered):
        plot_bits(curves, comparison.path / "bits.png", by_steps=isinstance(comparison, RecipeComparison))
    write_results(comparison, ordered)
    if isinstance(comparison, RecipeComparison):
        parts = _parts_of_recipes(comparison, ordered, missing, bool(curves))
    else:
        parts = _parts_of_tokenizers(comparison, ordered, missing, bool(curves))
    parts.append("## Each run\n")
    parts += [f"![{one.name}: the curves of its run]({panel_of(one.name)})\n" for one in ordered]
    text = "\n".join(parts)
    write_atomically(comparison.path / "results.md", text.encode(errors="replace"))  # names may not be UTF-8


def results_table(comparison: Comparison[Any], measured: Mapping[str, Measures]) -> list[list[str]]:
    """The table of whichever kind of comparison; its first row is its head."""
    if isinstance(comparison, RecipeComparison):
        return recipe_table(_recipe_results(comparison, measured))
    return table([measured[entry.name] for entry in comparison.entries if entry.name in measured])


def markdown_table(rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """Rows as Markdown; the first is the head, and numbers are aligned to the right."""
    head, *others = rows
    ruler = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ruler, *others)) + "\n"


def samples_side_by_side(measured: Sequence[Measures]) -> str:
    """The beginning of the first sample of each, as an HTML table, which Markdown passes through."""
    heads = "".join(f"<th>{one.name}</th>" for one in measured)
    # Every end of a line becomes <br>, because Markdown would read on after an empty line.
    samples = ["<br>".join(html.escape(one.samples[0].strip("\r\n")[:_SHOWN_SAMPLE]).splitlines()) for one in measured]
    cells = "".join(f"<td>{sample}</td>" for sample in samples)
    return f'<table>\n<tr>{heads}</tr>\n<tr valign="top">{cells}</tr>\n</table>\n'


def _parts_of_tokenizers(
    comparison: Comparison[Any], measured: Sequence[Measures], missing: Mapping[str, str], has_bits: bool
) -> list[str]:
    parts = [
        f"# {len(measured)} {'tokenizer' if len(measured) == 1 else 'tokenizers'}, one text, one model\n",
        _text_of(comparison),
        markdown_table(table(measured)),
        *_not_in_the_table(missing),
        f"{NOTES}\n",
    ]
    if has_bits:
        parts.append("![Bits per character against characters seen and against time](bits.png)\n")
    return [*parts, "## Samples\n", samples_side_by_side(measured)]


def _parts_of_recipes(
    comparison: RecipeComparison, measured: Sequence[Measures], missing: Mapping[str, str], has_bits: bool
) -> list[str]:
    results = _recipe_results(comparison, {one.name: one for one in measured})
    shown = sum(bool(runs) for runs in results.measured.values())
    cumulative = " Each row adds its change to those above it." if comparison.is_ladder else ""
    parts = [
        f"# {shown} {'recipe' if shown == 1 else 'recipes'}, one text\n",
        _text_of(comparison),
        markdown_table(recipe_table(results)),
        *_not_in_the_table(missing),
        f"{RECIPE_NOTES}\n",
    ]
    if has_bits:
        parts.append("![Bits per character against steps and against time](bits.png)\n")
    parts += [f"## What each recipe changes\n\nAll other settings are the same.{cumulative}\n"]
    parts.append(markdown_table(changes_table(results), numbers=False))
    return [*parts, f"## Samples\n\n{SAMPLE_NOTE}\n", samples_side_by_side(first_and_last(results))]


def first_and_last(results: RecipeResults) -> list[Measures]:
    """The first run of the first recipe and of the last one."""
    first = [runs[0] for recipe in results.recipes if (runs := results.measured.get(recipe.name))]
    return [first[0], first[-1]] if len(first) > 1 else first


def curves_of(results: RecipeResults) -> dict[str, Curve]:
    """The curve of the first run of each recipe, by the recipe's name."""
    return {
        recipe.name: curve
        for recipe in results.recipes
        if (runs := results.measured.get(recipe.name)) and (curve := runs[0].curve) is not None
    }


def _curves(comparison: Comparison[Any], measured: Sequence[Measures]) -> dict[str, Curve]:
    if isinstance(comparison, RecipeComparison):
        return curves_of(_recipe_results(comparison, {one.name: one for one in measured}))
    return {one.name: one.curve for one in measured if one.curve is not None}


def _recipe_results(comparison: RecipeComparison, measured: Mapping[str, Measures]) -> RecipeResults:
    runs = {recipe.name: comparison.runs_of(recipe) for recipe in comparison.recipes}
    return RecipeResults(comparison.recipes, comparison.is_ladder, by_recipe(runs, measured))


def _text_of(comparison: Comparison[Any]) -> str:
    return f"The text is {_plain(comparison.source)} (SHA-256 `{comparison.corpus_sha256[:12]}…`).\n"


def _not_in_the_table(missing: Mapping[str, str]) -> list[str]:
    return [f"Not in the table: {name}. {_plain(sentence)}\n" for name, sentence in missing.items()]


def _plain(text: str) -> str:
    """On one line, with every character escaped that Markdown would interpret."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
