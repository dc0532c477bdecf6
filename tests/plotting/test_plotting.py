"""The panel: what it draws, and what it refuses."""

from pathlib import Path

import pytest

from handgrad.plotting import plot_curves
from handgrad.system.errors import InputError

ROWS = [
    {"step": 0, "loss": None, "val_loss": 4.0, "lr": None, "grad_norm": None},
    {"step": 10, "loss": 3.5, "val_loss": None, "lr": 0.1, "grad_norm": 2.0},
    {"step": 20, "loss": 3.0, "val_loss": 3.0, "lr": 0.1, "grad_norm": 1.0},
    {"step": 40, "loss": 2.0, "val_loss": 2.5, "lr": 0.05, "grad_norm": 0.5},
]


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_ending_names_the_kind(tmp_path: Path, name: str, magic: bytes) -> None:
    plot_curves({"run": ROWS}, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_four_panels_and_every_run_in_them(tmp_path: Path) -> None:
    plot_curves({"first": ROWS, "second": ROWS}, tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    for text in ("Loss", "Gradient norm", "Learning rate", "Improvement of the validation loss"):
        assert text in svg
    for text in ("first: training", "first: validation", "second: validation"):
        assert text in svg


def test_what_is_drawn_is_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **style: drawn.append((list(x), list(y))))
    monkeypatch.setattr(Axes, "legend", lambda self, **style: None)
    plot_curves({"run": ROWS}, tmp_path / "a.png")
    assert drawn == [
        ([10, 20, 40], [3.5, 3.0, 2.0]),
        ([0, 20, 40], [4.0, 3.0, 2.5]),
        ([10, 20, 40], [2.0, 1.0, 0.5]),
        ([10, 20, 40], [0.1, 0.1, 0.05]),
        ([20, 40], [1.0, 0.5]),
    ]


def test_nothing_to_draw_and_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to plot"):
        plot_curves({"run": []}, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"cannot be written as 'txt'; known: .*png"):
        plot_curves({"run": ROWS}, tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_losses_that_stand_out_and_skipped_steps_are_marked(tmp_path: Path) -> None:
    plot_curves({"run": ROWS}, tmp_path / "calm.svg")
    marked = [
        *ROWS[:2],
        {**ROWS[2], "spike": True},
        {"step": 30, "loss": None, "skipped": 1},
        {**ROWS[3], "skipped": 1},
    ]
    plot_curves({"run": marked}, tmp_path / "marked.svg")
    for text in ("<!-- spikes -->", "<!-- skipped steps -->"):
        assert text not in (tmp_path / "calm.svg").read_text()
        assert (tmp_path / "marked.svg").read_text().count(text) == 1
