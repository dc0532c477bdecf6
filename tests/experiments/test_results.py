"""The report: its table, its JSON read back, its Markdown, and odd names and samples."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from handgrad.experiments import (
    Measures,
    TokenizerComparison,
    Writing,
    known_results,
    read_results,
    table,
    write_report,
)
from handgrad.experiments.report import markdown_table, samples_side_by_side
from handgrad.system.errors import InputError

Compared = tuple[TokenizerComparison, dict[str, Measures]]


@pytest.fixture(scope="session")
def reported(compared: Compared) -> Compared:
    comparison, measured = compared
    write_report(comparison, measured, {})
    return compared


def test_the_table_tells_what_was_measured(compared: Compared) -> None:
    char, lossy = compared[1]["char"], compared[1]["word-lowercase"]
    char = replace(char, writing=Writing(40, 10, 0, 0), parameters=2000, vocabulary_parameters=500, vocab_size=62)
    rows = {row[0].replace("*", ""): row[1:] for row in table([char, lossy])}
    assert rows[""] == ["char", "word-lowercase"]
    assert rows["budget"] == ["24 steps", "8 steps"]
    assert rows["characters seen"][0] == f"{24 * 5 * 8:,}"
    assert rows["parameters"][0] == "2,000"
    assert rows["of these in tables of the vocabulary"][0] == "500 (25%)"
    assert rows["vocabulary"][0] == "62"
    assert rows["characters per token of the training text"][0] == "1.00"
    assert rows["final training loss, nats per token"][0] == f"{char.training_loss:.3f}"
    assert rows["final validation loss, nats per token"][0] == f"{char.validation_loss:.3f}"
    assert rows["best validation loss (at step)"][0] == f"{char.best_validation_loss:.3f} ({char.best_step})"
    assert rows["bits per character, final"] == [f"{char.bits_per_character:.3f}", "not comparable"]
    assert rows["bits per character, best"] == [f"{char.best_bits_per_character:.3f}", "not comparable"]
    assert rows["unknown tokens in the validation text"][1].startswith("4 (")
    assert rows["sampled words that occur in the training text"][0] == "25% of 40"
    assert rows["sampled lines copied from it"][0] == "none sampled"
    assert rows["tokens per second"][0] == f"{char.tokens_per_second:,.0f}"
    slow = replace(char, tokens_seen=9000, tokens_per_second=50.0)
    assert table([slow])[-1] == ["time at this rate", "3.0 minutes"]


def test_results_are_read_back_as_they_were(reported: Compared) -> None:
    comparison, measured = reported
    assert read_results(comparison.path / "results.json") == list(measured.values())
    assert known_results(comparison, pytest.fail) == measured


def test_results_of_something_else_are_not_taken(reported: Compared, tmp_path: Path) -> None:
    comparison, measured = reported
    assert known_results(replace(comparison, corpus_sha256="0"), pytest.fail) == {}
    other = replace(comparison, config=replace(comparison.config, lr=0.5))
    assert known_results(other, pytest.fail) == {}
    first, *others = comparison.entries
    longer = replace(comparison, entries=(replace(first, steps=first.steps + 1), *others))
    assert list(known_results(longer, pytest.fail)) == [entry.name for entry in others]
    assert known_results(replace(comparison, path=tmp_path), pytest.fail) == {}
    (tmp_path / "results.json").write_bytes((comparison.path / "results.json").read_bytes())
    assert known_results(replace(comparison, path=tmp_path), pytest.fail) == {}  # its pictures are missing
    assert measured


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "version": lambda content: content.update(version=2),
    "no measures": lambda content: content.pop("measures"),
    "measures": lambda content: content.update(measures={"char": 1}),
    "tokenizer": lambda content: content["measures"][0].update(tokenizer="cahr"),
    "field": lambda content: content["measures"][0].pop("steps"),
    "type": lambda content: content["measures"][0].update(parameters=True),
    "nothing": lambda content: content["measures"][0].update(parameters=0),
    "huge": lambda content: content["measures"][0].update(unknown_tokens=10**400),
    "standing still": lambda content: content["measures"][0].update(tokens_per_second=0.0),
    "writing": lambda content: content["measures"][0].update(writing=[1, 2]),
    "words": lambda content: content["measures"][0]["writing"].update(words=-1),
    "no sample": lambda content: content["measures"][0].update(samples=[]),
    "samples": lambda content: content["measures"][0].update(samples=[5]),
    "curve": lambda content: content["curves"]["char"].pop("seconds"),
    "curves": lambda content: content.update(curves=[]),
    "points": lambda content: content["curves"]["char"]["seconds"].pop(),
    "no points": lambda content: content["curves"]["char"].update(validation=[]),
    "point": lambda content: content["curves"]["char"].update(validation=["4"] * 4),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_results_are_refused_and_measured_anew(what: str, reported: Compared, tmp_path: Path) -> None:
    comparison = replace(reported[0], path=tmp_path)
    content = json.loads((reported[0].path / "results.json").read_text())
    DAMAGE[what](content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"results\.json is not what a comparison wrote: "):
        read_results(tmp_path / "results.json")
    said: list[str] = []
    assert known_results(comparison, said.append) == {}
    assert len(said) == 1
    assert said[0].endswith("the runs are measured again")


def test_names_and_samples_cannot_break_the_page(compared: Compared, tmp_path: Path) -> None:
    comparison, measured = compared
    odd = replace(measured["char"], samples=("\n<b>&\r\rone\x0b\x85two\u2028", ""))
    strange = replace(comparison, path=tmp_path, source="a*b|c\n`d`\udcff.txt")
    write_report(strange, measured | {"char": odd}, {"bpe": "it | diverged"})
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "The text is a\\*b\\|c \\`d\\`?.txt (SHA-256 `" in page
    assert "Not in the table: bpe. it \\| diverged\n" in page
    assert "<td>&lt;b&gt;&amp;<br><br>one<br><br>two</td>" in page
    assert markdown_table(table([odd, measured["word"], measured["word-lowercase"]])) in page
    assert "![Bits per character" in page
    for name in ("bits", "curves-char", "curves-word", "curves-word-lowercase"):
        assert f"]({name}.png)" in page


def test_without_bits_there_is_no_picture_of_them(compared: Compared, tmp_path: Path) -> None:
    lossy = {"word-lowercase": compared[1]["word-lowercase"]}
    write_report(replace(compared[0], path=tmp_path), lossy, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]
    page = (tmp_path / "results.md").read_text()
    assert page.startswith("# 1 tokenizer, one")
    assert "bits.png" not in page
    assert json.loads((tmp_path / "results.json").read_text())["curves"] == {}


def test_a_long_sample_is_shown_in_part(compared: Compared) -> None:
    shown = samples_side_by_side([replace(compared[1]["char"], samples=("x" * 5000,))])
    assert 300 < shown.count("x") < 1000


def test_results_hold_no_less_than_the_measures(reported: Compared) -> None:
    content = json.loads((reported[0].path / "results.json").read_text())
    assert content["text"]["source"] == "verses | <b>.txt"
    assert content["config"] == asdict(reported[0].config)
    names = {"name" if name == "tokenizer" else name for name in content["measures"][0]}
    assert names | {"curve"} == set(Measures.__dataclass_fields__)
