"""Bits per character of runs with different tokenizers, against characters seen and against time."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.system.files import write_atomically

_SHOWN = 1.6
"""The top of the panel, as a multiple of the worst run's best: above it, every run only falls from a uniform guess."""


class BitsCurve(Protocol):
    """The curve of a run, with one point for each evaluation."""

    @property
    def characters(self) -> Sequence[float]: ...
    @property
    def seconds(self) -> Sequence[float]: ...
    @property
    def validation(self) -> Sequence[float]: ...
    @property
    def training(self) -> Sequence[float]: ...


def plot_bits(curves: Mapping[str, BitsCurve], path: Path) -> None:
    """Draws validation (lines) and training (dashes) against characters seen, and validation against time."""
    write_atomically(path, draw_bits(curves, path.suffix.lstrip(".") or "png"))


def draw_bits(curves: Mapping[str, BitsCurve], kind: str = "png") -> bytes:
    """The picture's bytes."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    draw_panels(curves, *figure.subplots(1, 2, sharey=True))
    figure.suptitle("Bits per character of the same validation text; a dot is the best", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()


def draw_panels(curves: Mapping[str, BitsCurve], by_characters: Axes, by_time: Axes) -> None:
    """Draws the curves into two panels, which may share their vertical axis."""
    for number, (name, curve) in enumerate(curves.items()):
        color = f"C{number % 10}"
        millions = [count / 1e6 for count in curve.characters]
        minutes = [seconds / 60 for seconds in curve.seconds]
        by_characters.plot(millions, curve.validation, color=color, label=f"{name}, validation")
        by_characters.plot(millions, curve.training, color=color, linestyle="--", linewidth=1, label="training")
        by_time.plot(minutes, curve.validation, color=color, label=f"{name}, validation")
        best = min(range(len(curve.validation)), key=curve.validation.__getitem__)
        for axes, places in ((by_characters, millions), (by_time, minutes)):
            axes.plot(places[best], curve.validation[best], color=color, marker="o", markersize=5)
    by_characters.set_ylabel("bits per character")
    by_characters.set_xlabel("characters of training text seen, in millions")
    by_time.set_xlabel("time, in minutes")
    lowest = min(min(*curve.validation, *curve.training) for curve in curves.values())
    worst = max(min(curve.validation) for curve in curves.values())
    by_characters.set_ylim(max(0.0, lowest - 0.1), _SHOWN * worst)
    for axes in (by_characters, by_time):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
