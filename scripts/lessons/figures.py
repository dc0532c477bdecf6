"""The figures of the lessons: docs/figures/NAME.json holds what was measured for each, and NAME.svg shows it.

A figure is a module with ``measure() -> data`` (real runs), ``draw(data)`` (Matplotlib's figures, or SVG as text, by
the ends of their files' names), and ``check(data)``. ``check`` repeats a little of these runs, and raises
AssertionError if they no longer give what was measured; if it cannot do this here, it returns the reason.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import bits
import experiment
import gpt_runs
import heads
import neuron
import pages
import recipes
import singular_values
import speedrun
import style
import valley

FIGURES: dict[str, ModuleType] = {
    "valley": valley,
    "gpt-runs": gpt_runs,
    "singular-values": singular_values,
    "heads": heads,
    "bits": bits,
    "recipes": recipes,
    "speedrun": speedrun,
    "neuron": neuron,
}


def data_path(name: str) -> Path:
    return pages.DOCS / "figures" / f"{name}.json"


def read(name: str) -> Any:
    return json.loads(data_path(name).read_text(encoding="utf-8"))


def measure(name: str) -> None:
    data = FIGURES[name].measure()
    data_path(name).write_text(json.dumps(data, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


def drawn(name: str) -> dict[Path, str]:
    """The pictures of a figure as they are drawn now, by their paths."""
    data = read(name)
    with style.own_settings():
        return {
            data_path(name).with_name(f"{name}{suffix}.svg"): _as_svg(figure, data)
            for suffix, figure in FIGURES[name].draw(data).items()
        }


def _as_svg(figure: Any, data: Any) -> str:
    return figure if isinstance(figure, str) else style.as_svg(figure, data)


def is_current(path: Path, picture: str) -> bool:
    """Whether a file shows what would be drawn now. Compares data and texts only: other versions of Matplotlib write
    the same lines differently."""
    return path.is_file() and style.words_of(path.read_text(encoding="utf-8")) == style.words_of(picture)


def tables() -> dict[str, str]:
    """The tables that pages show, made from the measurements."""
    made = {}
    for name, figure in FIGURES.items():
        if hasattr(figure, "tables"):
            made.update(figure.tables(read(name)))
    return made | experiment.tables()
