"""Every tokenizer file that the library reads, read by one function; odd last lines; and files that lack a part."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import TEXT, Output

from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, load_tokenizer

Handgrad = Callable[..., Output]
SAMPLE = "the quick brown foxes, unseen: Größe 漢字\r\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer in every format."""
    directory = tmp_path_factory.mktemp("files")
    tokenizer = BPETokenizer(max_vocab_size=300, special_tokens=["<|endoftext|>"]).train(TEXT)
    tokenizer.save(directory / "ours.json")
    tokenizer.to_huggingface(directory / "huggingface.json")
    tokenizer.to_vocab_and_merges(directory / "gpt2")
    tokenizer.to_tiktoken(directory / "gpt2.tiktoken")
    (directory / "openai").mkdir()
    shutil.copy(directory / "gpt2" / "vocab.json", directory / "openai" / "encoder.json")
    shutil.copy(directory / "gpt2" / "merges.txt", directory / "openai" / "vocab.bpe")
    return directory


@pytest.mark.parametrize(
    "name",
    [
        *("ours.json", "huggingface.json", "gpt2", "gpt2/vocab.json", "gpt2/merges.txt", "gpt2.tiktoken"),
        *("openai", "openai/encoder.json", "openai/vocab.bpe"),
    ],
)
def test_every_format_is_recognised(name: str, files: Path, handgrad: Handgrad, tmp_path: Path) -> None:
    expected = load_tokenizer(files / "ours.json").encode(SAMPLE)
    np.testing.assert_array_equal(load_tokenizer(files / name).encode(SAMPLE), expected)
    shown = handgrad("tokenize", files / name, SAMPLE, "--ids")
    assert (shown.code, shown.out) == (0, " ".join(map(str, expected)) + "\n")
    (tmp_path / "text.txt").write_text(TEXT)
    made = handgrad("prepare", "--text", tmp_path / "text.txt", "--tokenizer", files / name, "--out", tmp_path / "out")
    assert made.code == 0, made.err
    assert "bpe" in made.out


def windows(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


ODD: dict[str, Callable[[bytes], bytes]] = {
    "no last line end": lambda content: content.rstrip(b"\n"),
    "blank last lines": lambda content: content + b"\n \n",
    "line ends of Windows": windows,
    "a mark": lambda content: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["gpt2.tiktoken", "openai/vocab.bpe", "openai/encoder.json", "ours.json"])
def test_odd_lines_and_encodings_are_read(name: str, odd: str, files: Path, tmp_path: Path) -> None:
    copied = tmp_path / "files"
    shutil.copytree(files, copied)
    expected = load_tokenizer(files / name).encode(SAMPLE)
    (copied / name).write_bytes(ODD[odd]((copied / name).read_bytes()))
    if odd == "UTF-16" and name == "gpt2.tiktoken":
        tokenizer = BPETokenizer.from_tiktoken(copied / name, pattern="gpt2")
    else:
        tokenizer = load_tokenizer(copied / name)
    np.testing.assert_array_equal(tokenizer.encode(SAMPLE), expected)


def test_an_empty_part_at_the_end_of_a_rank_file_is_skipped(files: Path, tmp_path: Path) -> None:
    content = (files / "gpt2.tiktoken").read_bytes()
    (tmp_path / "gpt2.tiktoken").write_bytes(content + b"= 300\n")
    np.testing.assert_array_equal(
        load_tokenizer(tmp_path / "gpt2.tiktoken").encode(SAMPLE), load_tokenizer(files / "ours.json").encode(SAMPLE)
    )
    (tmp_path / "odd.tiktoken").write_bytes(content + b"<|endoftext|> 300\n")
    with pytest.raises(InputError, match=r"line \d+, '<\|endoftext\|> 300', is not a part in base 64 and its rank"):
        load_tokenizer(tmp_path / "odd.tiktoken")


def test_the_names_of_openais_rank_files_say_their_pattern_and_special_tokens(files: Path, tmp_path: Path) -> None:
    parts = [base64.b64encode(bytes([byte])).decode() for byte in range(256)]
    content = "".join(f"{part} {number}\n" for number, part in enumerate(parts))
    for name, pattern, end in (
        ("gpt2", "gpt2", 50256),
        ("r50k_base", "gpt2", 50256),
        ("cl100k_base", "gpt4", 100257),
        ("other", "gpt4", None),
    ):
        (tmp_path / f"{name}.tiktoken").write_text(content)
        found = load_tokenizer(tmp_path / f"{name}.tiktoken")
        assert isinstance(found, BPETokenizer)
        assert (found.pattern, found.eos_id) == (pattern, end)


def test_half_of_gpt_2s_files_is_refused_by_what_it_is(files: Path, tmp_path: Path) -> None:
    shutil.copy(files / "openai" / "encoder.json", tmp_path / "encoder.json")
    with pytest.raises(
        InputError, match=r"encoder\.json holds the vocabulary of a byte-pair encoding .* which also needs "
    ):
        load_tokenizer(tmp_path / "encoder.json")
    (tmp_path / "encoder.json").unlink()
    shutil.copy(files / "openai" / "vocab.bpe", tmp_path / "vocab.bpe")
    with pytest.raises(
        InputError, match=r"vocab\.bpe holds the merges of .* put vocab\.json or encoder\.json beside it$"
    ):
        load_tokenizer(tmp_path / "vocab.bpe")


def test_train_takes_the_file_of_a_tokenizer(files: Path, handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    small = [*("--n-layer", 1, "--n-head", 1, "--n-embd", 8, "--block-size", 8, "--max-steps", 2, "--shards", 1)]
    train = ("train", "--text", tmp_path / "text.txt", *small)
    done = handgrad(*train, "--tokenizer", files / "huggingface.json", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert load_tokenizer(tmp_path / "run") == load_tokenizer(files / "huggingface.json")
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["tokenizer"], config["vocab_size"]) == ("bpe", None)
    assert handgrad("train", "--resume", tmp_path / "run", "--max-steps", 3).code == 0
    again = handgrad(*train, f"--tokenizer={files / 'ours.json'}", "--vocab-size", 300, "--out", tmp_path / "x")
    assert (again.code, again.err) == (
        2,
        "handgrad: the vocabulary comes with the file of --tokenizer; --vocab-size cannot be given with it\n",
    )
    started = handgrad(
        *("train", "--text", tmp_path / "text.txt", "--init-from", tmp_path / "run", "--max-steps", 1),
        *("--tokenizer", files / "huggingface.json", "--shards", 1, "--out", tmp_path / "y"),
    )
    assert started.code == 0, started.err
    BPETokenizer(max_vocab_size=280).train(TEXT).save(tmp_path / "other.json")
    refused = handgrad(
        *("train", "--text", tmp_path / "text.txt", "--init-from", tmp_path / "run"),
        *("--tokenizer", tmp_path / "other.json", "--out", tmp_path / "z"),
    )
    assert "comes with its tokenizer; --tokenizer cannot name another one" in refused.err
