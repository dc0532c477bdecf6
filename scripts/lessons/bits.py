"""The curves of the experiment with three tokenizers, in bits per character. Its command makes the runs."""

from types import SimpleNamespace
from typing import Any

import pages
import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.plotting.bits import draw_panels
from handgrad.system.files import read_json

RESULTS = pages.DOCS / "experiments" / "tokenizers" / "results.json"


def measure() -> dict[str, Any]:
    """Takes the curves from the results that the command left."""
    curves = read_json(RESULTS)["curves"]
    return {
        name: {field: [round(value, 4) for value in values] for field, values in curve.items()}
        for name, curve in curves.items()
    }


def check(data: dict[str, Any]) -> str | None:
    assert data == measure()
    return None


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    return dict(style.two_ways("", _draw, data, sharey=True))


def _draw(by_characters: Axes, by_time: Axes, data: dict[str, Any]) -> None:
    draw_panels({name: SimpleNamespace(**curve) for name, curve in data.items()}, by_characters, by_time)
    by_time.set_ylim(by_characters.get_ylim())
    for axes, ylabel in ((by_characters, "bits per character"), (by_time, "")):
        style.plain(axes, "", axes.get_xlabel(), ylabel)
