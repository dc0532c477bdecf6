"""The 2×2 panel of a run: losses, gradient norm, learning rate, and the loss gained between evaluations."""

import io
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.runs import Run, read_metrics
from handgrad.system.errors import InputError
from handgrad.system.files import write_atomically

Rows = Sequence[Mapping[str, Any]]
Series = tuple[list[int], list[float]]
_LARGEST = 1e30
"""No axis shows larger values, which a run that diverged may have logged."""
_EARLY = 0.05
"""The share of the steps whose losses, far above the later ones, may be cut off at the top of the panel."""
_HEADROOM = 0.08


@dataclass(frozen=True)
class Marks:
    """What the panel shows of a run besides its metrics."""

    title: str = ""
    """Which run it is."""
    grad_clip: float = 0.0
    """The norm to which gradients are clipped; 0 for none."""
    uniform: float | None = None
    """The loss of a uniform guess."""
    bigram: float | None = None
    """The loss of a bigram model."""


def plot_runs(runs: Mapping[str, Run], path: Path) -> None:
    """Draws the metrics of runs by their names; see ``plot_curves``."""
    rows = {name: read_metrics(run.metrics_path) for name, run in runs.items()}
    plot_curves(rows, path, {name: _marks_of(run) for name, run in runs.items()})


def plot_curves(runs: Mapping[str, Rows], path: Path, marks: Mapping[str, Marks] | None = None) -> None:
    """Draws the metrics of one run, or of several in the same panels, in the format that the ending of the file names.

    ``runs``: the lines of metrics.jsonl of each name; ``marks``: what else is known of some of them. A star marks the
    best evaluation, red crosses losses that stand out, and dotted lines skipped steps.

    Raises InputError if there is nothing to draw, or if the format is unknown.
    """
    if not any(_series(rows, "loss")[0] or _series(rows, "val_loss")[0] for rows in runs.values()):
        raise InputError("there is nothing to plot yet: no step has been logged")
    write_atomically(path, draw_curves(runs, path.suffix.lstrip(".") or "png", marks))


def draw_curves(runs: Mapping[str, Rows], kind: str = "png", marks: Mapping[str, Marks] | None = None) -> bytes:
    """The picture's bytes."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    (losses, norms), (rates, gains) = figure.subplots(2, 2, sharex=True)
    several = len(runs) > 1
    of = {name: (marks or {}).get(name, Marks()) for name in runs}
    for number, (name, rows) in enumerate(runs.items()):
        color = f"C{number % 10}"
        label = f"{name}: " if several else ""
        _line(losses, _series(rows, "loss"), f"{label}training", color, alpha=0.4, linewidth=1)
        _line(losses, _series(rows, "val_loss"), f"{label}validation", color, marker="o", markersize=3.5)
        _mark_best(losses, rows, color, several, number)
        spikes = [row for row in rows if row.get("spike")]
        if spikes:
            marked = {"marker": "x", "linestyle": "", "markersize": 7, "markeredgewidth": 2}
            _line(losses, _series(spikes, "loss"), f"{label}spikes", "red", **marked)
        for count, step in enumerate(_skipped(rows)):
            named = {} if count else {"label": f"{label}skipped steps"}
            losses.axvline(step, color=color, linestyle=":", linewidth=0.8, **named)
        _line(norms, _series(rows, "grad_norm"), name if several else "_", color, linewidth=1)
        _line(rates, _series(rows, "lr"), name, color)
        _line(gains, _gained(rows), name, color, marker="o", markersize=3.5)
    _limit_losses(losses, runs, of)
    _draw_baselines(losses, of, several)
    _draw_thresholds(norms, of)
    norms.set_ylim(bottom=0)
    gains.axhline(0, color="gray", linewidth=0.8)
    gains.margins(y=0.1)
    titles = (
        (losses, "Loss", "nats per token"),
        (norms, "Gradient norm before clipping", "2-norm"),
        (rates, "Learning rate", "lr"),
        (gains, "Loss gained since the last evaluation", "nats per token"),
    )
    for axes, title, unit in titles:
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=True)
    readable = {"fontsize": 8 if several else 9, "edgecolor": "none", "framealpha": 0.85}  # in front of lines
    losses.legend(**readable)
    if several or any(mark.grad_clip for mark in of.values()):
        norms.legend(**readable)
    title = ", ".join(runs) if several else next(iter(of.values())).title or next(iter(runs))
    figure.suptitle(_printable(title), fontsize=12, parse_math=False)
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InputError(f"a picture cannot be written as {kind!r}; choose from {', '.join(sorted(known))}")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a path in another script
        figure.savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()


def _marks_of(run: Run) -> Marks:
    config, baselines = run.config, run.baselines
    shape = f"{config.n_layer} layers, {config.n_head} heads, {config.n_embd} wide, block {config.block_size}"
    return Marks(
        title=f"{run.path}\n{run.model_config.n_parameters:,} parameters: {shape}, tokenizer {config.tokenizer}",
        grad_clip=config.grad_clip,
        uniform=None if baselines is None else baselines.uniform,
        bigram=None if baselines is None else baselines.bigram,
    )


def _line(axes: Axes, series: Series, label: str, color: str, **style: Any) -> None:
    axes.plot(*series, label=label, color=color, **style)


def _mark_best(axes: Axes, rows: Rows, color: str, several: bool, number: int) -> None:
    """A star at the best evaluation after step 0, whose weights are the checkpoint ``best``."""
    evaluated = [(value, step) for step, value in zip(*_series(rows, "val_loss"), strict=True) if step > 0]
    if evaluated:
        value, step = min(evaluated)
        star = {"marker": "*", "linestyle": "", "markersize": 13, "markeredgecolor": "white", "zorder": 3}
        label = f"best, {value:.4f} at step {step:,}" if not several else "_" if number else "best"
        _line(axes, ([step], [value]), label, color, **star)


def _limit_losses(axes: Axes, runs: Mapping[str, Rows], marks: Mapping[str, Marks]) -> None:
    """Limits the panel to the bigram model's loss and those after the first steps, which would squeeze the others."""
    later: list[float] = []
    for rows in runs.values():
        end = max((row["step"] for row in rows), default=0)
        for field in ("loss", "val_loss"):
            later += [value for step, value in zip(*_series(rows, field), strict=True) if step > _EARLY * end]
    if not later:
        return
    low, high = min(later), max(later)
    known = [mark.bigram for mark in marks.values() if mark.bigram is not None]
    high = max([high, *known])
    margin = _HEADROOM * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)


def _draw_baselines(axes: Axes, marks: Mapping[str, Marks], several: bool) -> None:
    """Lines for what a uniform guess and a bigram model lose; one that is above the panel is named in the legend."""
    top = axes.get_ylim()[1]
    drawn = set()
    for name, mark in marks.items():
        for loss, what, style in ((mark.uniform, "uniform guess", ":"), (mark.bigram, "bigram model", "--")):
            if loss is None or (loss, what) in drawn:
                continue
            drawn.add((loss, what))
            alike = all(getattr(mark, what.split()[0]) == getattr(other, what.split()[0]) for other in marks.values())
            label = f"{what}, {loss:.2f}" if alike or not several else f"{name}: {what}, {loss:.2f}"
            if loss > top:
                axes.plot([], [], color="gray", linestyle=style, linewidth=1, label=f"{label} (above)")
            else:
                axes.axhline(loss, color="gray", linestyle=style, linewidth=1, label=label)


def _draw_thresholds(axes: Axes, marks: Mapping[str, Marks]) -> None:
    for threshold in sorted({mark.grad_clip for mark in marks.values() if mark.grad_clip}):
        label = f"clipped to {threshold:g}"
        axes.axhline(threshold, color="gray", linestyle="--", linewidth=1, label=label)


def _gained(rows: Rows) -> Series:
    """How much the validation loss fell since the evaluation before; the fall from step 0 would squeeze the others."""
    steps, values = _series(rows, "val_loss")
    if len(steps) > 2 and steps[0] == 0:
        steps, values = steps[1:], values[1:]
    return steps[1:], [before - after for before, after in itertools.pairwise(values)]


def _printable(title: str) -> str:
    """Without what no font or no SVG can hold, which paths may contain."""
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in title.split("\n"))


def _skipped(rows: Rows) -> list[int]:
    """The steps at which the count of skipped steps grew."""
    pairs = itertools.pairwise([{"skipped": 0}, *rows])
    return [int(row["step"]) for before, row in pairs if row.get("skipped", 0) > before.get("skipped", 0)]


def _series(rows: Rows, field: str) -> Series:
    known = ((int(row["step"]), row.get(field)) for row in rows)
    present = [(step, float(value)) for step, value in known if value is not None and abs(value) < _LARGEST]
    return [step for step, _ in present], [value for _, value in present]
