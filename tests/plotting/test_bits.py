"""The picture of bits per character: what it draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from handgrad.plotting import plot_bits


@dataclass(frozen=True)
class Curve:
    characters: Sequence[float] = (0, 1e6, 2e6)
    seconds: Sequence[float] = (0, 60, 120)
    validation: Sequence[float] = (6.0, 2.0, 2.5)
    training: Sequence[float] = (6.0, 2.2, 1.5)
    steps: Sequence[float] = (0, 50, 100)


def test_every_run_is_named_against_characters_and_against_time(tmp_path: Path) -> None:
    plot_bits({"char": Curve(), "bpe": Curve()}, tmp_path / "bits.svg")
    svg = (tmp_path / "bits.svg").read_text()
    for text in ("char, validation", "bpe, validation", "in millions", "in minutes", "bits per character"):
        assert text in svg
    plot_bits({"char": Curve()}, tmp_path / "bits.png")
    assert (tmp_path / "bits.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_drawn_is_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from matplotlib.axes import Axes

    drawn: list[tuple[object, object]] = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **style: drawn.append((x, y)))
    monkeypatch.setattr(Axes, "legend", lambda self, **style: None)
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(Axes, "set_ylim", lambda self, *both, **options: None if options else limits.append(both))
    curve = Curve()
    plot_bits({"char": curve}, tmp_path / "bits.png")
    assert drawn == [
        ([0, 1, 2], curve.validation),
        ([0, 1, 2], curve.training),
        ([0, 1, 2], curve.validation),
        (1, 2.0),  # the best
        (1, 2.0),
    ]
    assert limits == [(1.4, 3.2)]  # from below the lowest to 1.6 times the best
    drawn.clear()
    plot_bits({"gpt2": curve}, tmp_path / "bits.png", by_steps=True)
    assert drawn == [((0, 50, 100), curve.validation), ([0, 1, 2], curve.validation), (50, 2.0), (1, 2.0)]
    assert limits[1] == (1.9, 2.5)  # curves of recipes are close together


def test_recipes_are_drawn_against_steps_and_time_and_told_apart(tmp_path: Path) -> None:
    plot_bits({f"recipe-{number}": Curve() for number in range(12)}, tmp_path / "bits.svg", by_steps=True)
    svg = (tmp_path / "bits.svg").read_text()
    for text in ("recipe-0", "recipe-11", "steps", "in minutes"):
        assert f">{text}<" in svg or f", {text}<" in svg or f"{text} " in svg
    assert "training" not in svg
    assert "stroke-dasharray" in svg  # the eleventh has the colour of the first


def test_one_point_far_up_is_drawn_too(tmp_path: Path) -> None:
    plot_bits({"char": Curve((0,), (0,), (9.0,), (9.0,))}, tmp_path / "bits.png")
    assert (tmp_path / "bits.png").stat().st_size > 1000
