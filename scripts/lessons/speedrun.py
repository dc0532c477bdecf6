"""The speedrun: its tables and curves, made from the records in the rungs' files."""

import statistics
from collections.abc import Sequence
from typing import Any

import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.experiments.recipe_table import as_toml
from handgrad.experiments.report import markdown_table
from handgrad.experiments.speedrun import TRACKS, Record, Rung, read_rungs, spread_of
from handgrad.experiments.speedrun.tracks import Track, track_called

_DRAWN = ("nanogpt-cpu", "nanogpt-gpu")


def _own(rung: Rung) -> list[Record]:
    """The records in the rung's own precision, on the processor that comes first in the file."""
    own = [record for record in rung.records if record.precision == rung.config.precision]
    if not own:
        return []
    return [record for record in own if record.processor == own[0].processor]


def measure() -> dict[str, Any]:
    """The curve of the first seed of every rung: seconds of training, and the loss."""
    return {
        track: {
            f"{rung.number} {rung.name}": {"seconds": list(first.training_seconds), "losses": list(first.losses)}
            for rung in read_rungs(track_called(track))
            for first in _own(rung)[:1]
        }
        for track in _DRAWN
    }


def check(data: dict[str, Any]) -> str | None:
    assert data == measure()
    return None


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    return dict(style.two_ways("", _draw, data))


def _draw(cpu: Axes, gpu: Axes, data: dict[str, Any]) -> None:
    for axes, track in zip((cpu, gpu), map(track_called, _DRAWN), strict=True):
        curves = data[track.name]
        for number, (name, curve) in enumerate(curves.items()):
            share = number / max(1, len(curves) - 1)
            axes.plot(curve["seconds"][1:], curve["losses"][1:], color=style.between(share), label=name, linewidth=1.4)
        assert track.target is not None
        axes.axhline(track.target, color=style.INK, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_ylim(track.target - 0.05, track.target + 0.6)
        style.plain(
            axes, f"{track.name}: to {track.target}", "seconds of training", "validation loss, nats per character"
        )


def tables(data: dict[str, Any]) -> dict[str, str]:
    made = {
        f"speedrun-{track.name}": markdown_table(_ladder(track, read_rungs(track)), numbers=False) for track in TRACKS
    }
    return made | {"speedrun-settings": markdown_table(_settings(), numbers=False)}


def _ladder(track: Track, rungs: Sequence[Rung]) -> list[list[str]]:
    head = ["", "what changes", "steps", "loss at the end"]
    if track.target is not None:
        head += [f"seconds to {track.target}", "saved"]
    else:
        head += ["seconds"]
    rows = [head]
    before: float | None = None
    for rung in rungs:
        own = _own(rung)
        name = f"[{rung.number} {rung.name}](../{rung.learn})" if rung.learn else f"{rung.number} {rung.name}"
        seconds = [record.seconds for record in own if record.seconds is not None]
        now = statistics.fmean(seconds) if own and len(seconds) == len(own) else None
        cells = [name, rung.says, f"{rung.config.max_steps * rung.members:,}"]
        if own:
            cells.append(_spread([one.loss for one in own], 3))
            cells.append(_spread(seconds, 1) if now is not None else f"{len(seconds)} of {len(own)} seeds reach it")
        else:
            cells += ["not run whole", ""]
        if track.target is not None:
            cells.append(f"{before - now:,.1f}" if before is not None and now is not None else "")
        before = now
        rows.append(cells)
    return rows


def _spread(values: Sequence[float], digits: int) -> str:
    spread = spread_of(values)
    return f"{spread.mean:,.{digits}f} ± {spread.half:.{digits}f}"


def _settings() -> list[list[str]]:
    """What each rung of each track changes."""
    rows = [["", "settings"]]
    for track in TRACKS:
        for rung in read_rungs(track):
            settings = [f"`{name} = {as_toml(value)}`" for name, value in rung.changes.items()]
            members = [f"`members = {rung.members}`"] if rung.members > 1 else []
            rows.append([f"{track.name} {rung.number}", ", ".join(members + settings)])
    return rows
