"""handgrad prepare as a user calls it; tests/data/test_preparing.py tests its files."""

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TEXT, Output, start

from handgrad.data import load_dataset, open_token_files
from handgrad.tokenizers import CharTokenizer

Handgrad = Callable[..., Output]


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


def test_the_summary(handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("ab" * 600)
    (tmp_path / "in" / "b.txt").write_text("c" * 50)
    done = handgrad("prepare", "--text", tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 0
    assert done.err == (
        "handgrad: warning: 50 of 125 characters of the validation text are unknown to the tokenizer ('c'), because "
        "the training text lacks them, so bits per character cannot be compared; --byte-fallback lets the tokenizer "
        "encode every character; --shuffle-documents or --val-text choose another split\n"
    )
    assert done.out.splitlines() == [
        "documents             2",
        "characters            1,250",
        "training tokens       1,125",
        "validation tokens     126",
        "characters per token  1.00",
        "unknown tokens        50 (4.00%)",
        "vocabulary            6 tokens, char",
        f"token files           {tmp_path / 'out'} (uint16)",
    ]


@pytest.mark.parametrize("arguments", [["-"], ["--text", "-"]])
def test_standard_input(
    arguments: list[str], handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"\xef\xbb\xbf" + "é🦓\r\n".encode() * 100)
    done = handgrad("prepare", *arguments, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    data = open_token_files(tmp_path / "out")
    assert data.meta.source == "standard input"
    assert data.tokenizer.decode(data.train) + data.tokenizer.decode(data.validation) == "é🦓\r\n" * 100


def test_standard_input_that_is_not_utf_8_leaves_nothing(
    handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"fine\xff")
    done = handgrad("prepare", "-", "--out", tmp_path / "out")
    assert done.code == 2
    assert done.err.startswith("handgrad: standard input is not UTF-8: byte 0xff at offset 4 (invalid start byte)")
    assert list(tmp_path.iterdir()) == []


def test_several_texts_and_standard_input_between(
    handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a" * 9)
    (tmp_path / "b").write_text("b")
    feed(monkeypatch, b"i" * 10)
    handgrad("prepare", "--text", tmp_path / "a", "-", tmp_path / "b", "--out", tmp_path / "out")
    data = open_token_files(tmp_path / "out")
    assert data.tokenizer.decode(data.train) == "a" * 9 + "<eos>" + "i" * 9
    assert data.meta.source == f"{tmp_path / 'a'}, standard input, {tmp_path / 'b'}"


def test_a_data_set_by_name(handgrad: Handgrad, tmp_path: Path) -> None:
    done = handgrad("prepare", "--dataset", "pydoc", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    corpus, meta = load_dataset("pydoc"), open_token_files(tmp_path / "out").meta
    assert (meta.source, meta.corpus_sha256) == (corpus.source, corpus.sha256)


def test_a_tokenizer_that_has_learned_elsewhere(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    tokenizer = CharTokenizer("thequick")
    tokenizer.save(tmp_path / "mine.json")
    done = handgrad("prepare", "--text", text_file, "--tokenizer", tmp_path / "mine.json", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert open_token_files(tmp_path / "out").tokenizer == tokenizer


def test_a_terminal_shows_every_pass(
    handgrad: Handgrad, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    done = handgrad("prepare", "--text", text_file, "--tokenizer", "word", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    for doing in ("reading", "counting", "learning the vocabulary", "encoding"):
        assert doing in done.out


@pytest.mark.skipif(os.name == "nt", reason="file size limits of POSIX systems")
@pytest.mark.parametrize("limit", [100, 4000])
def test_a_disk_that_fills_up_is_one_sentence_and_leaves_nothing(limit: int, text_file: Path, tmp_path: Path) -> None:
    """A limit on the size of files simulates a full disk."""
    text_file.write_text(TEXT)
    out = tmp_path / "below" / ".." / "out"
    (tmp_path / "below").mkdir()
    process = start("prepare", "--text", text_file, "--out", out, limit=limit)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert errors == f"handgrad: {out}: File too large\n"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "below", text_file]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX systems")
def test_a_pipe_that_has_a_name_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = start("prepare", "--text", tmp_path / "pipe", "--out", tmp_path / "out")
    (tmp_path / "pipe").write_text(TEXT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert open_token_files(tmp_path / "out").meta.source == str(tmp_path / "pipe")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_asked_to_end_it_leaves_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = start("prepare", "--text", tmp_path / "pipe", "--out", tmp_path / "out")
    with (tmp_path / "pipe").open("w") as pipe:  # which waits until it is read
        pipe.write(TEXT)
        pipe.flush()
        time.sleep(0.5)  # until it waits for more: it would see an earlier signal only then
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, "")
    assert list(tmp_path.iterdir()) == [tmp_path / "pipe"]


@pytest.mark.parametrize("arguments", [["prepare", "-", "--out"], ["tokenize"]])
def test_standard_input_that_is_closed_is_one_sentence(
    arguments: list[str], handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CharTokenizer("ab").save(tmp_path / "tokenizer.json")
    monkeypatch.setattr(sys, "stdin", None)
    done = handgrad(*arguments, tmp_path / ("out" if "--out" in arguments else "tokenizer.json"))
    assert (done.code, done.out) == (2, "")
    assert done.err == "handgrad: standard input is closed; give a file, or a text through a pipe\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
