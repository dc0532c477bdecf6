"""The 2×2 panel of a run: losses, gradient norm, learning rate, and what each evaluation window gained."""

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.system.errors import InputError
from handgrad.system.files import write_atomically

Rows = Sequence[Mapping[str, Any]]
Series = tuple[list[int], list[float]]
_LARGEST = 1e30
"""No axis shows more, of a run that had lost its way."""


def plot_curves(runs: Mapping[str, Rows], path: Path) -> None:
    """Draws the metrics of one run, or of several over one another, as a picture whose kind the file's ending names.

    ``runs``: for each name the lines of its metrics.jsonl. Losses that stand out are crossed in red, steps that were
    skipped are dotted lines. Raises InputError where there is nothing to draw, or the
    ending is not one that can be.
    """
    if not any(_series(rows, "loss")[0] or _series(rows, "val_loss")[0] for rows in runs.values()):
        raise InputError("there is nothing to plot yet: no step has been logged")
    write_atomically(path, draw_curves(runs, path.suffix.lstrip(".") or "png"))


def draw_curves(runs: Mapping[str, Rows], kind: str = "png") -> bytes:
    """The picture's bytes."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    (losses, norms), (rates, gains) = figure.subplots(2, 2)
    several = len(runs) > 1
    for number, (name, rows) in enumerate(runs.items()):
        color = f"C{number % 10}"
        label = f"{name}: " if several else ""
        _line(losses, _series(rows, "loss"), f"{label}training", color, alpha=0.4, linewidth=1)
        _line(losses, _series(rows, "val_loss"), f"{label}validation", color, marker="o", markersize=3.5)
        spikes = [row for row in rows if row.get("spike")]
        if spikes:
            marked = {"marker": "x", "linestyle": "", "markersize": 7, "markeredgewidth": 2}
            _line(losses, _series(spikes, "loss"), f"{label}spikes", "red", **marked)
        for count, step in enumerate(_skipped(rows)):
            named = {} if count else {"label": f"{label}skipped steps"}
            losses.axvline(step, color=color, linestyle=":", linewidth=0.8, **named)
        _line(norms, _series(rows, "grad_norm"), name, color, linewidth=1)
        _line(rates, _series(rows, "lr"), name, color)
        steps, values = _series(rows, "val_loss")
        gained = [before - after for before, after in itertools.pairwise(values)]
        _line(gains, (steps[1:], gained), name, color, marker="o", markersize=3.5)
    gains.axhline(0, color="gray", linewidth=0.8)
    titles = (
        (losses, "Loss", "nats per token"),
        (norms, "Gradient norm before clipping", "2-norm"),
        (rates, "Learning rate", "lr"),
        (gains, "Improvement of the validation loss per evaluation window", "nats per token"),
    )
    for axes, title, unit in titles:
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    losses.legend(frameon=False)
    if several:
        norms.legend(frameon=False)
    # The first windows gain a hundred times what the last do; a linear axis shows only the first.
    gains.set_yscale("symlog", linthresh=0.01)
    gains.margins(y=0.1)
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InputError(f"a picture cannot be written as {kind!r}; known: {', '.join(sorted(known))}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()


def _line(axes: Axes, series: Series, label: str, color: str, **style: Any) -> None:
    axes.plot(*series, label=label, color=color, **style)


def _skipped(rows: Rows) -> list[int]:
    """The steps at which the count of skipped ones grew."""
    pairs = itertools.pairwise([{"skipped": 0}, *rows])
    return [int(row["step"]) for before, row in pairs if row.get("skipped", 0) > before.get("skipped", 0)]


def _series(rows: Rows, field: str) -> Series:
    known = ((int(row["step"]), row.get(field)) for row in rows)
    present = [(step, float(value)) for step, value in known if value is not None and abs(value) < _LARGEST]
    return [step for step, _ in present], [value for _, value in present]
