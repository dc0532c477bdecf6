"""The figures of the lessons: what was measured for each lies in docs/figures/NAME.json, and NAME.svg shows it.

A figure is a module with ``measure() -> data`` (real runs), ``draw(data)`` (figures, by what their files' names end
with), and ``check(data)``, which makes a little of these runs again and raises AssertionError where they no longer give
what was measured; where that cannot be done here it returns why.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import experiment
import gpt_runs
import heads
import pages
import style
import valley

FIGURES: dict[str, ModuleType] = {"valley": valley, "gpt-runs": gpt_runs, "heads": heads}


def data_path(name: str) -> Path:
    return pages.DOCS / "figures" / f"{name}.json"


def read(name: str) -> Any:
    return json.loads(data_path(name).read_text(encoding="utf-8"))


def measure(name: str) -> None:
    data = FIGURES[name].measure()
    data_path(name).write_text(json.dumps(data, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


def drawn(name: str) -> dict[Path, str]:
    """The pictures of a figure as they are drawn now, by where they stand."""
    data = read(name)
    with style.own_settings():
        return {
            data_path(name).with_name(f"{name}{suffix}.svg"): style.as_svg(figure, data)
            for suffix, figure in FIGURES[name].draw(data).items()
        }


def is_current(path: Path, picture: str) -> bool:
    """Whether a file shows what would be drawn now, by its data and its words: other versions of Matplotlib draw the
    same lines in other words."""
    return path.is_file() and style.words_of(path.read_text(encoding="utf-8")) == style.words_of(picture)


def tables() -> dict[str, str]:
    """The tables that pages show, made from what was measured."""
    made = {}
    for name, figure in FIGURES.items():
        if hasattr(figure, "tables"):
            made.update(figure.tables(read(name)))
    return made | experiment.tables()
