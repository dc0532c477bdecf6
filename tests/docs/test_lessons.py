"""The lessons show the code that runs, and what it prints; their figures show what was measured."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import figures
import pages
import pytest
import style

ROOT = Path(__file__).parent.parent.parent
LESSONS = ROOT / "scripts" / "lessons"

DRAWN = sorted((ROOT / "docs" / "figures").glob("*.svg"))


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_shows_what_the_source_holds_and_what_its_examples_print(name: str) -> None:
    page = pages.page_path(name).read_text(encoding="utf-8")
    assert pages.filled(page, name, figures.tables()) == page, "make lessons fills it anew"


@pytest.mark.slow
@pytest.mark.parametrize("name", figures.FIGURES)
def test_what_a_figure_shows_is_still_what_is_measured(name: str) -> None:
    if (reason := figures.FIGURES[name].check(figures.read(name))) is not None:
        pytest.skip(reason)


def test_what_the_lesson_says_of_gradient_norms_is_what_was_measured() -> None:
    runs = figures.read("gpt-runs")["runs"]
    page = " ".join(pages.page_path("optimizers").read_text(encoding="utf-8").split())
    last_hundred = {name: sum(run["grad_norm"][-10:]) / 10 for name, run in runs.items()}
    stuck, good = last_hundred["AdamW, lr 0.003"], last_hundred["AdamW, lr 0.001"]
    assert f"had a norm of {stuck:.1f} over its last hundred steps, beside {good:.1f} at the good rate" in page
    assert runs["AdamW, lr 0.003"]["val_loss"] > runs["AdamW, lr 0.001"]["val_loss"] + 0.5
    lost = runs["momentum 0.9, lr 0.3"]
    assert lost["steps"] < 50
    for before, after in itertools.pairwise(lost["grad_norm"]):
        assert after > 1.5 * before
    assert lost["loss"] == sorted(lost["loss"])


@pytest.mark.slow
def test_every_figure_is_drawn_from_its_data_and_shown_on_a_page() -> None:
    shown = {
        (page.parent / link).resolve()
        for page in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md")
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    # The site shows NAME-narrow.svg in the place of NAME.svg on a narrow page.
    assert {path.with_name(path.name.replace("-narrow.svg", ".svg")).resolve() for path in DRAWN} <= shown
    pictures = {path: picture for name in figures.FIGURES for path, picture in figures.drawn(name).items()}
    assert sorted(pictures) == DRAWN
    for path, picture in pictures.items():
        assert figures.is_current(path, picture), f"make lessons draws {path.name} anew"


def test_a_picture_of_other_data_or_words_is_not_current(tmp_path: Path) -> None:
    (path, picture), *_ = figures.drawn("valley").items()
    assert len(style.words_of(picture)) > 20
    for name, changed in (
        ("other-data", picture.replace(style.sha256_of(figures.read("valley")), "0" * 64)),
        ("other-words", picture.replace(">SGD, lr 0.01<", ">SGD, lr 0.02<")),
    ):
        assert changed != picture
        (tmp_path / name).write_text(changed, encoding="utf-8")
        assert not figures.is_current(tmp_path / name, picture)
    assert not figures.is_current(tmp_path / "none", picture)
    assert figures.is_current(path, picture)


def filled(page: str) -> str:
    return pages.filled(page, "page")


def test_examples_of_a_page_share_their_names_and_print_below() -> None:
    page = "```python\nx = 2\n```\n\ntext\n\n```python\nprint(x + 1)\n```\n"
    assert filled(page) == page + "\n```text\n3\n```\n"
    assert filled(filled(page)) == filled(page)
    assert filled(page.replace("print(x + 1)", "x = 1") + "\n```text\nold\n```\n") == page.replace(
        "print(x + 1)", "x = 1"
    )


def test_source_is_pulled_and_nothing_else_is_touched() -> None:
    page = "before\n\n<!-- source: handgrad.ops.relu: relu -->\n```python\nold\n```\n\nafter `code`\n"
    after = filled(page)
    assert after.startswith("before\n\n<!-- source: handgrad.ops.relu: relu -->\n```python\ndef relu(")
    assert after.endswith("    return y, ReluSaved(y)\n```\n\nafter `code`\n")
    methods = filled(
        "<!-- source: handgrad.nn.transformer: FeedForward.forward FeedForward.backward -->\n```python\n```\n"
    )
    assert "\ndef forward(" in methods
    assert "\n\ndef backward(" in methods


def test_tables_are_made_anew() -> None:
    page = "<!-- table: a -->\n| old |\n| --- |\n\nafter\n"
    assert pages.filled(page, "page", {"a": "| new |\n"}) == "<!-- table: a -->\n| new |\n\nafter\n"


@pytest.mark.slow
def test_commands_run_one_after_another_in_one_directory() -> None:
    page = "```sh\nhandgrad check --exercise silu\nhandgrad check --exercise silu\n```\n"
    assert "wrote exercises/silu.py" in filled(page)
    assert "not yet written" in filled(page)
    left = "<!-- not run: it takes hours -->\n```sh\nrm -rf runs\n```\n"
    assert filled(left) == left


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("\n<!-- table: runs -->\n", "page.md, line 2: there is no table runs"),
        ("```python\n1 / 0\n```\n", "page.md, line 1: ZeroDivisionError"),
        ("text\n\n```sh\nls\n```\n", "page.md, line 3: ls is not run here"),
        ("```\nx\n```\n", "line 1: a block of nothing is neither run"),
        ("```text\nx\n```\n", "line 1: a block of text is neither run"),
        (
            "<!-- source: handgrad.ops.relu: relu -->\n```python\n```\n\n```text\n1\n```\n",
            "line 1: source prints nothing",
        ),
        ("<!-- source: handgrad.ops.relu: elu -->\n```python\n```\n", "line 1: handgrad.ops.relu has no elu"),
    ],
)
def test_what_cannot_be_filled_is_said(page: str, said: str) -> None:
    with pytest.raises(pages.PageError, match=re.escape(said)):
        filled(page)


def test_the_command_says_what_has_changed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(LESSONS), "--help"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0
    assert "--measure" in done.stdout
