"""The look of the lessons' figures: readable on a light page and on a dark one."""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

INK = "#808890"
COLORS = ("#3b82c4", "#e0782f", "#3f9e5a", "#c9484a", "#9467bd", "#8c6d4f", "#d175b8")


def new_figure(width: float, height: float) -> Figure:
    """A figure with a transparent background."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    return figure


def two_ways(
    name: str, draw: Callable[[Axes, Axes, Any], None], data: Any, **layout: Any
) -> Iterator[tuple[str, Figure]]:
    """Two panels side by side and, for a narrow page, one below the other; by the ends of their files' names."""
    wide, narrow = new_figure(10, 4), new_figure(5, 7.6)
    draw(*wide.subplots(1, 2, **layout), data)
    draw(*narrow.subplots(2, 1), data)
    yield from ((name, wide), (f"{name}-narrow", narrow))


def plain(axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Draws lines, ticks and texts in one grey that is readable on light and dark."""
    axes.patch.set_alpha(0)
    axes.set_title(title, fontsize=10.5, color=INK)
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.grid(alpha=0.25, color=INK, linewidth=0.6)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8.5)


def between(share: float) -> tuple[float, ...]:
    """A colour on the way from the second to the first of ``COLORS``, for curves that follow one another."""
    return tuple(((1 - share) * np.array(to_rgb(COLORS[1])) + share * np.array(to_rgb(COLORS[0]))).tolist())


def shaded(shares: Any) -> Any:
    """Shares from 0 to 1 as a picture: one colour, more transparent for smaller shares."""
    picture = np.empty((*np.shape(shares), 4))
    picture[..., :3] = to_rgb(COLORS[0])
    picture[..., 3] = shares
    return picture


def own_settings() -> AbstractContextManager[None]:
    """Matplotlib's defaults, whatever the user has set."""
    own = {"svg.hashsalt": "handgrad", "svg.fonttype": "none"}
    return rc_context({**{name: rcParamsDefault[name] for name in rcParamsDefault if name != "backend"}, **own})


def as_svg(figure: Figure, data: Any) -> str:
    """The picture, with the hash of the data that it shows."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Description": sha256_of(data)})
    return buffer.getvalue()


def words_of(picture: str) -> list[str]:
    """The hash of its data, and all texts in it."""
    return re.findall(r"<(?:dc:description|text)\b[^>]*>([^<]*)<", picture)


def sha256_of(data: Any) -> str:
    """Of the values, independent of the layout of the file."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
