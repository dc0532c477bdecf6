"""The live line of a training run: what it shows, and what a narrow terminal drops."""

import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from handgrad.cli.progress import Column, TrainingDisplay, live_line
from handgrad.runs import Metrics, Run
from handgrad.runs.checkpoint import Progress
from handgrad.system.backend_setting import use_backend
from handgrad.training import train

COLUMNS = [
    Column("1,250/1,500", "cyan", 9),
    Column("loss 1.3058", "bold", 8),
    Column("best 1.4062", "green", 6),
    Column("0:22 left", "yellow", 7),
    Column("11,320 tokens/s", "dim", 3),
    Column("lr 2.39e-04", "dim", 1),
    Column("grad norm 0.71", "dim", 2),
]


def test_a_wide_line_shows_everything_behind_a_bar() -> None:
    line = live_line(COLUMNS, 0.5, 140).plain
    bar, *rest = line.split("  ")
    assert set(bar) == {"━"}
    assert rest == [column.text for column in COLUMNS]


def test_the_least_important_column_is_dropped_first() -> None:
    def shown(width: int) -> list[str]:
        line = live_line(COLUMNS, 0.5, width)
        assert len(line.plain) <= width or len(line.plain.split("  ")) == 1
        return ["bar" if "━" in part else part.split()[0] for part in line.plain.split("  ")]

    everything = ["bar", "1,250/1,500", "loss", "best", "0:22", "11,320", "lr", "grad"]
    seen = []
    for width in range(140, 0, -1):
        if not seen or shown(width) != seen[-1]:
            seen.append(shown(width))
    dropped = [(set(before) - set(after)).pop() for before, after in pairwise(seen)]
    assert seen[0] == everything
    assert dropped == ["lr", "grad", "11,320", "bar", "best", "0:22", "loss"]
    assert seen[-1] == ["1,250/1,500"]


def test_100_columns_show_a_bar_and_60_the_time_left() -> None:
    assert live_line(COLUMNS, 0.5, 99).plain.endswith("0:22 left  11,320 tokens/s  grad norm 0.71")
    narrow = live_line(COLUMNS, 0.5, 59).plain
    assert narrow.startswith("━" * 8)
    assert narrow.endswith("  1,250/1,500  loss 1.3058  best 1.4062  0:22 left")


@pytest.mark.parametrize(("done", "full"), [(-1.0, 0), (0.0, 0), (0.25, 2), (1.0, 10), (2.0, 10)])
def test_the_bar_fills_with_the_steps(done: float, full: int) -> None:
    line = live_line([Column("x", "", 9)], done, 13)
    assert line.plain == "━" * 10 + "  x"
    green = sum(span.end - span.start for span in line.spans if span.style == "green")
    assert green == full


@pytest.fixture
def terminal() -> Iterator[Console]:
    """A terminal of 100 columns with colours; nothing is compiled."""
    use_backend("numpy")
    yield Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=100, markup=False)
    use_backend(None)


def test_a_terminal_shows_the_loss_the_best_and_the_time_left(new_run: Callable[..., Run], terminal: Console) -> None:
    run = new_run(max_steps=10)
    seen: list[str] = []

    class Watched(TrainingDisplay):
        def stepped(self, metrics: Metrics) -> None:
            super().stepped(metrics)
            seen.append(self._live_line().plain)

    display = Watched(run, terminal)
    train(run, run.data(), reporter=display)
    display.close()
    assert len(seen) == 10
    assert all("left" in line and "loss " in line and "━" in line for line in seen)
    assert ["best " in line for line in seen] == [False] * 5 + [True] * 5  # after the evaluation of step 5
    printed = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[32mvalidation loss" in printed  # green: the best so far
    assert "validation loss to beat: " in printed


def test_a_resumed_run_knows_its_best_and_does_not_repeat_the_baselines(
    new_run: Callable[..., Run], terminal: Console
) -> None:
    run = new_run()
    display = TrainingDisplay(run, terminal)
    model: Any = type("Model", (), {"n_parameters": 3})()
    display.started(model, run.data(), Progress(step=7, best_val_loss=1.25, best_step=5))
    metrics = Metrics(8, 2.0, None, None, 0.1, 1.0, 40, 10.0, 1.0)
    display.stepped(metrics)
    assert "best 1.2500" in display._live_line().plain
    display.stepped(Metrics(9, None, None, None, 0.1, None, 40, 10.0, 1.0, skipped=1))
    assert "skipped, 1 step so far" in display._live_line().plain
    display.close()
    printed = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "resuming at step 7:" in printed
    assert "to beat" not in printed
