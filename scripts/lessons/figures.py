"""The figures of the lessons: what was measured for each lies in docs/figures/NAME.json, and NAME.svg shows it.

A figure is a module with ``measure() -> data`` (real runs), ``draw(data) -> Figure``, and ``check(data)``, which makes a
little of these runs again and raises AssertionError where they no longer give what was measured.
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
