"""The figures of the lessons: what was measured for each lies in docs/figures/NAME.json, and NAME.svg shows it.

A figure is a module with ``measure() -> data`` (real runs), ``draw(data)`` (figures, by what their files' names end
with), and ``check(data)``, which makes a little of these runs again and raises AssertionError where they no
longer give what was measured.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import gpt_runs
import heads
import pages
import style
import valley

from handgrad.experiments.report import markdown_table, read_results, side_by_side, table

RESULTS = pages.DOCS / "experiments" / "tokenizers" / "results.json"
"""What the experiment's command wrote."""

FIGURES: dict[str, ModuleType] = {"valley": valley, "gpt-runs": gpt_runs, "heads": heads}


def data_path(name: str) -> Path:
    return pages.DOCS / "figures" / f"{name}.json"


def read(name: str) -> Any:
    return json.loads(data_path(name).read_text(encoding="utf-8"))


def measure(name: str) -> None:
    data = FIGURES[name].measure()
    data_path(name).write_text(json.dumps(data, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


def draw(name: str) -> None:
    data = read(name)
    for suffix, figure in FIGURES[name].draw(data).items():
        style.save(figure, data_path(name).with_name(f"{name}{suffix}.svg"), data)


def tables() -> dict[str, str]:
    """The tables that pages show, made from what was measured."""
    made = {}
    for name, figure in FIGURES.items():
        if hasattr(figure, "tables"):
            made.update(figure.tables(read(name)))
    measured = read_results(RESULTS)
    return made | {"results": markdown_table(table(measured)), "samples": side_by_side(measured)}
