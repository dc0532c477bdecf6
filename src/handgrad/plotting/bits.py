"""Bits per character of the runs of a comparison, against characters seen or steps, and against time."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.system.files import write_atomically

_SHOWN, _SHOWN_OF_RECIPES = 1.6, 1.25
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
    @property
    def steps(self) -> Sequence[float]: ...


def plot_bits(curves: Mapping[str, BitsCurve], path: Path, by_steps: bool = False) -> None:
    """Draws validation (lines) and training (dashes) against characters seen, and validation against time.

    With ``by_steps``, validation alone against steps and against time.
    """
    write_atomically(path, draw_bits(curves, path.suffix.lstrip(".") or "png", by_steps))


def draw_bits(curves: Mapping[str, BitsCurve], kind: str = "png", by_steps: bool = False) -> bytes:
    """The picture's bytes."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    (draw_panels_by_steps if by_steps else draw_panels)(curves, *figure.subplots(1, 2, sharey=True))
    figure.suptitle("Bits per character of the same validation text; a dot is the best", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()


def draw_panels(curves: Mapping[str, BitsCurve], by_characters: Axes, by_time: Axes) -> None:
    """Draws the curves into two panels, which may share their vertical axis."""
    for number, (name, curve) in enumerate(curves.items()):
        color = f"C{number % 10}"
        millions = [count / 1e6 for count in curve.characters]
        by_characters.plot(millions, curve.validation, color=color, label=f"{name}, validation")
        by_characters.plot(millions, curve.training, color=color, linestyle="--", linewidth=1, label="training")
        by_time.plot(_minutes(curve), curve.validation, color=color, label=f"{name}, validation")
        _mark_best(curve, color, (by_characters, millions), (by_time, _minutes(curve)))
    by_characters.set_xlabel("characters of training text seen, in millions")
    lowest = min(min(*curve.validation, *curve.training) for curve in curves.values())
    _finish(curves, by_characters, by_time, lowest, _SHOWN)


def draw_panels_by_steps(curves: Mapping[str, BitsCurve], by_steps: Axes, by_time: Axes) -> None:
    """Draws the validation curves into two panels, which may share their vertical axis."""
    for number, (name, curve) in enumerate(curves.items()):
        color, style = f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]  # there are ten colours
        by_steps.plot(curve.steps, curve.validation, color=color, linestyle=style, label=name)
        by_time.plot(_minutes(curve), curve.validation, color=color, linestyle=style, label=name)
        _mark_best(curve, color, (by_steps, curve.steps), (by_time, _minutes(curve)))
    by_steps.set_xlabel("steps")
    lowest = min(min(curve.validation) for curve in curves.values())
    _finish(curves, by_steps, by_time, lowest, _SHOWN_OF_RECIPES)


def _mark_best(curve: BitsCurve, color: str, *panels: tuple[Axes, Sequence[float]]) -> None:
    best = min(range(len(curve.validation)), key=curve.validation.__getitem__)
    for axes, places in panels:
        axes.plot(places[best], curve.validation[best], color=color, marker="o", markersize=5)


def _minutes(curve: BitsCurve) -> list[float]:
    return [seconds / 60 for seconds in curve.seconds]


def _finish(curves: Mapping[str, BitsCurve], first: Axes, by_time: Axes, lowest: float, shown: float) -> None:
    first.set_ylabel("bits per character")
    by_time.set_xlabel("time, in minutes")
    worst = max(min(curve.validation) for curve in curves.values())
    first.set_ylim(max(0.0, lowest - 0.1), shown * worst)
    for axes in (first, by_time):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
