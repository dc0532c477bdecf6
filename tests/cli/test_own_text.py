"""Texts as users have them, from raw files to samples."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Output

from handgrad.data import open_token_files
from handgrad.runs import open_run

Handgrad = Callable[..., Output]
TINY = [
    *("--block-size", "8", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-steps", "150"),
    *("--lr", "1e-2", "--shards", "1", "--eval-interval", "150", "--tokenizer", "char", "--warmup-steps", "10"),
]


@pytest.fixture
def abc_run(handgrad: Handgrad, tmp_path: Path) -> Path:
    """A model of 300 files that each hold abc."""
    (tmp_path / "files").mkdir()
    for number in range(300):
        (tmp_path / "files" / f"{number}.txt").write_text("abc")
    assert handgrad("prepare", "--text", tmp_path / "files", "--out", tmp_path / "tokens").code == 0
    done = handgrad("train", "--data", tmp_path / "tokens", "--out", tmp_path / "run", *TINY)
    assert done.code == 0, done.err
    assert "; it writes:\n\nabc\n\ncurves: " in done.out
    return tmp_path / "run"


def test_a_model_of_documents_writes_documents(handgrad: Handgrad, abc_run: Path) -> None:
    greedy = ("sample", abc_run, "--temperature", 0)
    assert handgrad(*greedy).out == "abc\n"
    assert handgrad(*greedy, "--tokens", 2).out == "ab\n"
    assert handgrad(*greedy, "--samples", 2).out == "--- sample 1 ---\nabc\n--- sample 2 ---\nabc\n"
    assert handgrad(*greedy, "--prompt", "b").out == "bc\n"
    assert handgrad(*greedy, "--no-until-end", "--tokens", 6).out == "abc<eos>ab\n"
    assert handgrad(*greedy, "--stop", "x", "--stop", "c").out == "ab\n"
    named = handgrad(*greedy, "--prompt", "<eos>a", "--allow-special")
    assert (named.out, named.err) == ("<eos>abc\n", "")
    unnamed = handgrad(*greedy, "--prompt", "<eos>a")
    assert "the vocabulary lacks '<', '>', 'e', 'o', 's'" in unnamed.err
    refused = handgrad(*greedy, "--stop", "")
    assert (refused.code, refused.err) == (2, "handgrad: stop must be a text of at least one character, not ''\n")


def test_an_old_run_of_documents_writes_documents_as_well(handgrad: Handgrad, abc_run: Path) -> None:
    content = json.loads((abc_run / "config.json").read_text())
    assert content["data"]["documents"] == "files"
    for name in ("documents", "begins"):
        del content["data"][name]
    (abc_run / "config.json").write_text(json.dumps(content))
    assert handgrad("sample", abc_run, "--temperature", 0).out == "abc\n"
    meta = Path(content["data"]["directory"]) / "meta.json"
    older = {name: value for name, value in json.loads(meta.read_text()).items() if name != "documents"}
    meta.write_text(json.dumps(older))
    assert open_token_files(meta.parent).documents == "files"
    assert handgrad("sample", abc_run, "--temperature", 0).out == "abc\n"
    meta.unlink()  # without its token files, nothing is known of documents
    assert open_run(abc_run).has_documents is False
    assert len(handgrad("sample", abc_run, "--temperature", 0, "--tokens", 5).out) == 6


def test_one_document_begins_as_the_training_text(handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc" * 300)
    done = handgrad("train", "--text", tmp_path / "text.txt", "--out", tmp_path / "run", *TINY)
    assert f"\n\n{'abc' * 100}a\n\ncurves: " in done.out
    assert handgrad("sample", tmp_path / "run", "--temperature", 0, "--tokens", 5).out == "abcabc\n"
    assert handgrad("sample", tmp_path / "run", "--temperature", 0, "--tokens", 2, "--prompt", "c").out == "cab\n"


@pytest.mark.parametrize(
    ("name", "value"), [("documents", 3), ("begins", "a"), ("begins", [99]), ("begins", [True]), ("begins", [-1])]
)
def test_a_damaged_beginning_is_one_sentence(handgrad: Handgrad, abc_run: Path, name: str, value: object) -> None:
    content = json.loads((abc_run / "config.json").read_text())
    content["data"][name] = value
    (abc_run / "config.json").write_text(json.dumps(content))
    refused = handgrad("sample", abc_run)
    assert refused.code == 2
    assert f"config.json is damaged: {name} must be" in refused.err


def test_a_text_begins_with_whole_characters(handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("漢字かな" * 300, encoding="utf-8")
    made = handgrad(
        *("prepare", "--text", tmp_path / "text.txt", "--tokenizer", "bpe", "--vocab-size", 260),
        *("--out", tmp_path / "tokens"),
    )
    assert made.code == 0, made.err
    data = open_token_files(tmp_path / "tokens")
    assert data.tokenizer.decode(data.begins) == "漢"
    assert len(data.begins) == 3


def test_train_reads_standard_input_and_folders(
    handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffabc".encode("utf-16") * 300), encoding="ascii")
    )
    few = [*TINY, "--max-steps", 1, "--warmup-steps", 0]
    piped = handgrad("train", "--text", "-", "--out", tmp_path / "piped", *few)
    assert piped.code == 0, piped.err
    assert "characters of standard input" in piped.out
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("abcab" * 50)
    (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "in" / "c.txt").write_text("cab" * 50)
    folder = handgrad("train", "--text", tmp_path / "in", "--out", tmp_path / "folder", *few)
    assert folder.code == 0
    assert folder.err == f"handgrad: warning: skipped files: 1 not text ({tmp_path / 'in' / 'b.png'} is a PNG image)\n"
    assert open_run(tmp_path / "folder").documents == "files"
    several = handgrad(
        "train", "--text", tmp_path / "in" / "a.txt", tmp_path / "in" / "c.txt", "--out", tmp_path / "s", *few
    )
    assert several.code == 0
    refused = handgrad("train", "--data", tmp_path / "folder" / "data", "--documents", "lines", "--out", tmp_path / "x")
    assert refused.code == 2
    assert "--documents is for raw text; prepare has made the token files in" in refused.err


def test_one_unseen_character_is_counted_and_bytes_help(handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc" * 100 + "?")
    few = [*TINY, "--max-steps", 1, "--warmup-steps", 0]
    lossy = handgrad("train", "--text", tmp_path / "text.txt", "--out", tmp_path / "a", *few)
    assert "1 of 31 characters of the validation text are unknown to the tokenizer ('?')" in lossy.err
    says = "bits per character are not comparable: the tokenizer does not know 1 of the 31 characters of the validation"
    assert says in lossy.out
    assert f"bits        {says}" in handgrad("eval", tmp_path / "a").out
    exact = handgrad("train", "--text", tmp_path / "text.txt", "--byte-fallback", "--out", tmp_path / "b", *few)
    assert "1 tokens of the validation text ('<3F>'; 3.2% of it) occur nowhere in the training text" in exact.err
    assert "bits per character" in handgrad("eval", tmp_path / "b").out
    (tmp_path / "other.txt").write_text("漢?")
    assert "bits per character are" not in handgrad("eval", tmp_path / "b", "--text", tmp_path / "other.txt").out
    assert handgrad("sample", tmp_path / "b", "--prompt", "漢", "--tokens", 1).err == ""


def test_a_model_of_names_writes_ten_names_one_per_line(handgrad: Handgrad, tmp_path: Path) -> None:
    names = ["anna", "ben", "carla", "dan", "eve", "finn", "gert", "hanna", "ida", "jan"]
    (tmp_path / "names.txt").write_text("\r\n".join(names * 12))
    done = handgrad(
        *("train", "--text", tmp_path / "names.txt", "--documents", "lines", "--boundaries", "respect"),
        *("--out", tmp_path / "run", *TINY, "--n-embd", 24, "--max-steps", 250, "--eval-interval", 250),
    )
    assert done.code == 0, done.err
    shown = done.out.split("it writes:\n\n")[1].split("\n\ncurves")[0].split("\n")
    sampled = handgrad("sample", tmp_path / "run", "--samples", 10, "--tokens", 50).out.splitlines()
    for written in (shown, sampled):
        assert len(written) == 10
        assert sum(name in names for name in written) >= 7
        assert max(map(len, written)) < 15  # each is ended by the model, not by the number of tokens
    measured = handgrad("eval", tmp_path / "run").out
    assert "nats per token" in measured
    bits = re.search(r"([\d.]+) bits per character", done.out.split("step 250: ")[1])
    assert bits is not None
    assert f"bits        {bits[1]} bits per character" in measured
    (tmp_path / "two.txt").write_text("anna\n\nben\n")
    assert "tokens      8, of which 0 unknown" in handgrad("eval", tmp_path / "run", "--text", tmp_path / "two.txt").out
    refused = handgrad(
        "train", "--dataset", "pydoc", "--tokenizer", "char", "--boundaries", "respect", "--out", tmp_path / "x"
    )
    assert refused.err == (
        "handgrad: boundaries respect needs a text of several documents, and dataset pydoc is only one; say what a "
        "document is, for example with --documents lines\n"
    )


def test_the_validation_text_and_the_fraction_are_flags(handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcab" * 50)
    (tmp_path / "b.txt").write_text("ccba" * 5)
    text = ("prepare", "--text", tmp_path / "a.txt")
    done = handgrad(*text, "--val-text", tmp_path / "b.txt", "--out", tmp_path / "one")
    assert (done.code, done.err) == (0, "")
    data = open_token_files(tmp_path / "one")
    assert data.tokenizer.decode(data.validation) == "ccba" * 5
    assert handgrad(*text, "--val-fraction", 0.4, "--out", tmp_path / "two").code == 0
    assert open_token_files(tmp_path / "two").meta.validation_characters == 100
