"""The panel: what it draws, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from handgrad.plotting import Marks, plot_curves, plot_runs
from handgrad.plotting.curves import draw_curves
from handgrad.runs import Run
from handgrad.runs.metrics import Metrics, MetricsLog
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
    for text in ("Loss", "Gradient norm", "Learning rate", "Loss gained since the last evaluation"):
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
        ([40], [2.5]),  # the best
        ([10, 20, 40], [2.0, 1.0, 0.5]),
        ([10, 20, 40], [0.1, 0.1, 0.05]),
        ([40], [0.5]),  # the gain since step 0 would squeeze this one
    ]
    drawn.clear()
    plot_curves({"run": ROWS[:3]}, tmp_path / "a.png")
    assert drawn[-1] == ([20], [1.0])  # the only one


def loss_limits(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]], marks: Marks) -> tuple[float, float]:
    """The range of losses that the panel shows."""
    from matplotlib.axes import Axes

    limits: list[tuple[float, float]] = []
    with monkeypatch.context() as patch:
        patch.setattr(Axes, "set_ylim", lambda self, *both, **options: None if options else limits.append(both))
        draw_curves({"run": rows}, "svg", {"run": marks})
    (shown,) = limits
    return shown


def test_the_first_losses_do_not_squeeze_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [*ROWS[:2], *({**ROWS[2], "step": step} for step in range(300, 1000, 100)), {**ROWS[3], "step": 1000}]
    low, high = loss_limits(monkeypatch, long, Marks(uniform=4.6))
    assert 1.8 < low < 2.0
    assert 3.0 < high < 3.3  # neither 3.5, of step 10, nor 4.0, of step 0, nor the uniform guess
    low, high = loss_limits(monkeypatch, long, Marks(bigram=3.9))
    assert 3.9 < high < 4.2


def test_the_run_its_best_the_threshold_and_the_baselines_are_named() -> None:
    marks = Marks("runs/mine: a model", grad_clip=1.5, uniform=5.0, bigram=2.7)
    svg = draw_curves({"mine": ROWS}, "svg", {"mine": marks}).decode()
    said = ("runs/mine: a model", "best, 2.5000 at step 40", "clipped to 1.5", "bigram model, 2.70")
    for text in (*said, "uniform guess, 5.00 (above)"):
        assert f"<!-- {text} -->" in svg
    plain = draw_curves({"mine": ROWS}, "svg").decode()
    assert "<!-- mine -->" in plain
    for text in ("clipped", "bigram", "uniform"):
        assert text not in plain


def test_several_runs_share_a_baseline_or_name_their_own() -> None:
    def drawn(first: Marks, second: Marks) -> str:
        return draw_curves({"a": ROWS, "b": ROWS}, "svg", {"a": first, "b": second}).decode()

    alike = drawn(Marks(bigram=2.7), Marks(bigram=2.7))
    assert alike.count("bigram model, 2.70 -->") == 1
    assert "a: bigram" not in alike
    different = drawn(Marks(bigram=2.7, grad_clip=1.0), Marks(bigram=2.6, grad_clip=0.5))
    for text in ("a: bigram model, 2.70", "b: bigram model, 2.60", "clipped to 0.5", "clipped to 1"):
        assert f"<!-- {text} -->" in different


@pytest.mark.parametrize("name", ["$x$", "日本", "bell\a", "\udcff"])
def test_any_path_can_be_a_title(name: str) -> None:
    for kind in ("png", "svg"):
        assert draw_curves({name: ROWS}, kind, {name: Marks(name)})


def test_a_run_that_was_started_before_there_were_baselines(new_run: Callable[..., Run], tmp_path: Path) -> None:
    run = replace(new_run(grad_clip=0.25), baselines=None)
    log = MetricsLog(run.metrics_path)
    log.append(Metrics(1, 3.0, None, None, 0.1, 1.0, 40, 1.0, 1.0))
    log.close()
    plot_runs({"run": run}, tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert f"<!-- {run.path} -->" in svg
    assert "clipped to 0.25" in svg
    assert "bigram" not in svg


def test_nothing_to_draw_and_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to plot"):
        plot_curves({"run": []}, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"cannot be written as 'txt'; choose from .*png"):
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
