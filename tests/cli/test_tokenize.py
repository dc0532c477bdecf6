"""handgrad tokenize as a user calls it."""

import io
import re
import sys
from collections.abc import Callable
from itertools import pairwise, zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from support import TEXT, Output

from handgrad.cli.tokenize import Cell, rows_of, visible
from handgrad.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

Handgrad = Callable[..., Output]
SAMPLE = "the quick  fox\njumps\t日本 over!\n\nthe dog"


def saved(tokenizer: Tokenizer, directory: Path) -> Path:
    tokenizer.save(directory / "tokenizer.json")
    return directory / "tokenizer.json"


def test_words_and_ids_one_under_the_other(handgrad: Handgrad, tmp_path: Path) -> None:
    file = saved(WordTokenizer().train("a fox a fox a fox,\nquick"), tmp_path)
    done = handgrad("tokenize", file, "a quick fox\n, b")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "a|·|quick|·|fox|↵",
        "5 4 9     4 6   7",
        ",|·|<unk>",
        "8 4 1",
        "15 characters, 9 tokens, 1.67 characters per token, 1 unknown",
    ]


@pytest.mark.parametrize(
    "tokenizer",
    [
        CharTokenizer().train(TEXT),
        CharTokenizer(byte_fallback=True),
        WordTokenizer(byte_fallback=True).train(TEXT),
        BPETokenizer(max_vocab_size=300).train(TEXT),
    ],
)
def test_the_ids_alone_of_every_kind(tokenizer: Tokenizer, handgrad: Handgrad, tmp_path: Path) -> None:
    file = saved(tokenizer, tmp_path)
    done = handgrad("tokenize", file, SAMPLE, "--ids")
    assert [int(number) for number in done.out.split()] == tokenizer.encode(SAMPLE).tolist()
    shown = handgrad("tokenize", file, SAMPLE).out
    assert re.findall(r"\b\d+\b", " ".join(shown.splitlines()[1:-1:2])) == done.out.split()
    assert shown.splitlines()[-1].startswith(f"{len(SAMPLE)} characters, {len(done.out.split())} tokens, ")


def test_bytes_and_characters_that_print_nothing_can_be_seen(handgrad: Handgrad, tmp_path: Path) -> None:
    file = saved(BPETokenizer(), tmp_path)
    first = handgrad("tokenize", file, "é\t\0 \r\u200b").out.splitlines()[0]
    assert first.replace(" ", "") == "<C3>|<A9>|␉|<00>|·|␍|<E2>|<80>|<8B>"


def test_a_run_or_token_files_instead_of_a_tokenizers_file(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    handgrad("prepare", "--text", text_file, "--out", tmp_path / "data")
    by_directory = handgrad("tokenize", tmp_path / "data", "the dog")
    assert by_directory.code == 0, by_directory.err
    assert by_directory.out == handgrad("tokenize", tmp_path / "data" / "tokenizer.json", "the dog").out


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(
    arguments: list[str], handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(CharTokenizer("é\n"), tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\né".encode()), encoding="ascii"))
    assert handgrad("tokenize", file, *arguments).out.splitlines()[:4] == ["é|↵", "5 4", "é", "5"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xff"), encoding="ascii"))
    refused = handgrad("tokenize", file, *arguments)
    assert (refused.code, "standard input is not UTF-8: byte 0xff at offset 1" in refused.err) == (2, True)


def test_an_empty_text_has_no_tokens(handgrad: Handgrad, tmp_path: Path) -> None:
    assert handgrad("tokenize", saved(CharTokenizer("a"), tmp_path), "").out == "0 characters, 0 tokens, 0 unknown\n"


def test_special_tokens_are_themselves_only_where_they_are_allowed(handgrad: Handgrad, tmp_path: Path) -> None:
    file = saved(BPETokenizer(), tmp_path)
    assert len(handgrad("tokenize", file, "a<eos>", "--ids").out.split()) == 6
    assert handgrad("tokenize", file, "a<eos>", "--ids", "--allow-special").out.split()[1:] == ["3"]
    assert handgrad("tokenize", file, "a<eos>", "--allow-special").out.startswith("a |<eos>\n")


def test_a_terminal_shows_colours_in_rows_that_fit(
    handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(CharTokenizer(SAMPLE), tmp_path)
    plain = handgrad("tokenize", file, SAMPLE).out
    assert "\x1b" not in plain
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "20"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = handgrad("tokenize", file, SAMPLE).out
    grounds = re.findall(r"48;5;(\d+)m", out)
    assert len(grounds) == len(SAMPLE)
    assert all(ground != following for ground, following in pairwise(grounds))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    assert max(cell_len(line) for line in lines[:-1]) <= 20
    assert "|" not in "".join(lines)
    assert "".join("".join(lines[:-1:2]).split()) == visible(SAMPLE)


# Rows

cells = st.builds(Cell, st.text("a日·", min_size=1, max_size=6), st.integers(0, 10**6).map(str), st.booleans())


@given(st.lists(cells), st.integers(1, 40))
def test_rows_hold_every_cell_once_and_fit_and_end_with_lines(given_cells: list[Cell], width: int) -> None:
    rows = list(rows_of(given_cells, width))
    assert [cell for row in rows for cell in row] == given_cells
    for row, following in zip_longest(rows, rows[1:]):
        used = sum(cell.width for cell in row) + len(row) - 1
        assert used <= width or len(row) == 1
        assert not any(cell.ends_row for cell in row[:-1])
        if following and not row[-1].ends_row:  # no row ends too early
            assert used + 1 + following[0].width > width


@given(st.text())
def test_what_is_visible_prints(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert " " not in shown
    assert len(shown) >= len(text)
