"""Files of other libraries: reading gives back what was written; unsupported features are refused by name."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, CharTokenizer, load_tokenizer

SAMPLE = "She sells sea shells, she'll sell 12345 more; SHE'S selling!\n\n  ok\té日本 " * 20
TEXTS = ["", " ", SAMPLE, "unseen: Größe 👩\u200d💻\r\n", "<eos>"]


@pytest.fixture
def tokenizer() -> BPETokenizer:
    return BPETokenizer(max_vocab_size=330, special_tokens=["<user>"]).train(SAMPLE)


def same_ids(a: BPETokenizer, b: BPETokenizer) -> bool:
    return all(np.array_equal(a.encode(text), b.encode(text)) for text in TEXTS)


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "none"])
def test_a_tokenizer_json_that_we_wrote_is_read_back_as_it_was(pattern: str, tmp_path: Path) -> None:
    tokenizer = BPETokenizer(max_vocab_size=330, pattern=pattern, special_tokens=["<user>"]).train(SAMPLE)
    tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    for loaded in (
        BPETokenizer.from_huggingface(tmp_path / "tokenizer.json"),
        BPETokenizer.from_huggingface(tmp_path),
        load_tokenizer(tmp_path / "tokenizer.json"),
    ):
        assert loaded == tokenizer
        assert same_ids(loaded, tokenizer)


def test_gpt2s_two_files_are_read_back(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    tokenizer.to_vocab_and_merges(tmp_path / "new")
    loaded = BPETokenizer.from_vocab_and_merges(tmp_path / "new" / "vocab.json", tmp_path / "new" / "merges.txt")
    assert loaded == tokenizer
    assert loaded.special_tokens == tokenizer.special_tokens
    assert (tmp_path / "new" / "merges.txt").read_text("utf-8").startswith("#version: 0.2\nĠ s\nl l\n")


def test_a_rank_file_is_read_back(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    tokenizer.to_tiktoken(tmp_path / "ranks.tiktoken")
    loaded = BPETokenizer.from_tiktoken(
        tmp_path / "ranks.tiktoken", pattern="gpt2", special_tokens=tokenizer.special_tokens
    )
    assert same_ids(loaded, tokenizer)
    loaded.to_tiktoken(tmp_path / "again.tiktoken")
    assert (tmp_path / "again.tiktoken").read_bytes() == (tmp_path / "ranks.tiktoken").read_bytes()
    # A tokenizer read from a rank file is saved like any other.
    loaded.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json") == loaded
    assert same_ids(load_tokenizer(tmp_path / "tokenizer.json"), tokenizer)


def ranks(*parts: bytes) -> str:
    everything = [bytes([byte]) for byte in range(256)] + list(parts)
    return "".join(f"{base64.b64encode(part).decode()} {rank}\n" for rank, part in enumerate(everything))


def test_ranks_merge_any_two_parts_the_least_first(tmp_path: Path) -> None:
    path = tmp_path / "ranks.tiktoken"
    path.write_text(ranks(b"bc", b"abc", b"aa", b"aaa", b"xyz"))
    tokenizer = BPETokenizer.from_tiktoken(path, pattern="none", special_tokens={"<|endoftext|>": 300})
    assert tokenizer.encode("abcabc").tolist() == [257, 257]
    assert tokenizer.encode("aaaaa").tolist() == [258, 259]  # (aa)(aa)a, then (aa)((aa)a)
    assert tokenizer.encode("xyz").tolist() == [260]  # a piece that is a part becomes it, though no merge makes it
    assert tokenizer.encode("xyz ").tolist() == [*b"xyz "]
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id) == (301, 300, None)
    assert tokenizer.encode("a<|endoftext|>", allow_special=True).tolist() == [97, 300]
    assert set(tokenizer.special_ids) == set(range(261, 301))  # the ids between stand for no text
    with pytest.raises(IndexError, match="no token of this vocabulary has the id 299"):
        tokenizer.decode([299])
    for write in (tokenizer.to_huggingface, tokenizer.to_vocab_and_merges):
        with pytest.raises(InputError, match="a tokenizer with tiktoken's ranks has no list of merges"):
            write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("YQ==", "line 1, 'YQ==', is not a part in base 64 and its rank"),
        ("YQ== x\n", "line 1, 'YQ== x', is not a part"),
        ("Y 1\n", "line 1, 'Y 1', is not a part"),
        ("= 1\n", "line 1, '= 1', is not a part"),
        ("YQ== 1\nYQ== 2\n", "line 2, 'YQ== 2', gives a part a second rank"),
        ("YQ== 1\nYg== 2\n", "is cut short or not a rank file: 254 of the 256 bytes have no rank"),
        (ranks()[:1500], "is not a part in base 64|is cut short"),
        (ranks(b"ab") + "YWI= 7\n", "gives a part a second rank"),
        (ranks() + "YWI= 7\n", "have the same id, 7"),
        (ranks() + "YWI= 999999999\n", "must be an integer from 0 to 4194303, not 999999999"),
    ],
)
def test_a_damaged_rank_file_is_refused(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "ranks.tiktoken"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        BPETokenizer.from_tiktoken(path)


def changed(content: Any, path: str, value: Any) -> Any:
    *way, last = path.split(".")
    place = content
    for name in way:
        place = place[int(name) if name.isdigit() else name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return content


SPLIT = {"type": "Split", "pattern": {"Regex": r"\p{N}"}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("model", ..., "it is not a tokenizer.json: model and pre_tokenizer must be objects"),
        ("pre_tokenizer", [], "it is not a tokenizer.json"),
        ("model.type", "WordPiece", "its model is WordPiece, not BPE"),
        ("model.byte_fallback", True, "its model.byte_fallback is True; only tokenizers without one"),
        ("model.dropout", 0.1, "its model.dropout is 0.1"),
        ("model.end_of_word_suffix", "</w>", "its model.end_of_word_suffix is '</w>'"),
        ("normalizer", {"type": "NFC"}, "its normalizer is NFC; only tokenizers without one are supported"),
        ("truncation", {"max_length": 5}, "its truncation is an object without a type"),
        ("post_processor", {"type": "TemplateProcessing"}, "its post_processor is TemplateProcessing, not ByteLevel"),
        ("decoder", {"type": "Metaspace"}, "its decoder is Metaspace, not ByteLevel"),
        ("pre_tokenizer", {"type": "Metaspace"}, "its pre_tokenizer is Metaspace; only ByteLevel, and Split then"),
        ("pre_tokenizer", None, "its pre_tokenizer is nothing"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": []}, "its pre_tokenizer is an empty Sequence"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": 5}, "its pre_tokenizer is an empty Sequence"),
        (
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [SPLIT, BYTE_LEVEL]},
            r"its Split is by \\p\{N\}; only",
        ),
        (
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [SPLIT | {"behavior": "Removed"}, BYTE_LEVEL]},
            "its Split is 'Removed'; only 'Isolated'",
        ),
        (
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [SPLIT, BYTE_LEVEL | {"use_regex": True}]},
            "its ByteLevel after Split adds a space or splits again",
        ),
        ("post_processor", "junk", "its post_processor is 'junk', not ByteLevel"),
        ("decoder", 7, "its decoder is 7, not ByteLevel"),
        (
            "pre_tokenizer.add_prefix_space",
            "no",
            "add_prefix_space and use_regex of its ByteLevel must be true or false",
        ),
        (
            "added_tokens.0.content",
            "~",
            "its added token '~' is also a byte of text, so the two cannot be distinguished",
        ),
        ("added_tokens.0.lstrip", True, "its added token '<pad>' has lstrip; only tokens without it"),
        ("added_tokens.0.special", False, "its added token '<pad>' is not special"),
        ("added_tokens.0.id", 17, "'<pad>' has the id 17 in added_tokens and 0 in model.vocab"),
        ("added_tokens.0.id", "0", "an added token needs a content and an id"),
        ("added_tokens.1.content", "<pad>", "its added token '<pad>' occurs twice"),
        ("added_tokens", 3, "added_tokens must be a list of objects"),
        ("model.vocab", [], "model.vocab must be an object of ids"),
        ("model.vocab.!", 8, "have the same id, 8"),
        ("model.vocab.!", -1, "the id of '!' must be an integer from 0 to 4194303, not -1"),
        ("model.vocab.!", 1 << 40, "the id of '!' must be an integer from 0"),
        ("model.vocab.!", True, "the id of '!' must be an integer from 0"),
        ("model.vocab.a b", 900, "'a b' is not written in GPT-2's characters for bytes: ' ' is not one of them"),
        ("model.vocab.Ġs", ..., "merge 1, 'Ġ s', makes a part that has no id"),
        ("model.vocab.s", ..., "merge 1, 'Ġ s', is not of two known parts"),
        ("model.unk_token", "<none>", "its unk_token '<none>' has no id"),
        ("model.merges", ..., "merges must be a list"),
        ("model.merges.0", "s", "merge 1, 's', is not of two parts"),
        ("model.merges.1", "Ġ s", "merge 2, 'Ġ s', occurs twice"),
        ("model.merges.0", ["s", 4], "merge 1, .* is not of two parts"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    path: str, value: Any, sentence: str, tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    file = tmp_path / "tokenizer.json"
    tokenizer.to_huggingface(file)
    file.write_text(json.dumps(changed(json.loads(file.read_text("utf-8")), path, value)))
    with pytest.raises(InputError, match=f"cannot be used: .*{sentence}"):
        BPETokenizer.from_huggingface(file)


def damaged(path: Path, content: bytes) -> list[str]:
    """The errors of all readers for a file with this content."""
    path.write_bytes(content)
    said = []
    for read in (
        load_tokenizer,
        BPETokenizer.from_huggingface,
        BPETokenizer.from_tiktoken,
        lambda path: BPETokenizer.from_vocab_and_merges(path, path),
    ):
        with pytest.raises(InputError) as raised:
            read(path)
        said.append(str(raised.value))
    return said


def test_hostile_files_are_one_clear_error_each(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    own, theirs = tmp_path / "own.json", tmp_path / "theirs.json"
    tokenizer.save(own)
    tokenizer.to_huggingface(theirs)
    for content in (
        b"",
        b"\xff\xfe",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
        b'{"format": "handgrad-tokenizer", "version": 1}',
        own.read_bytes()[:-20],
        theirs.read_bytes()[:-200],
        theirs.read_bytes().replace(b'"a":', b'"b":', 1),
        b"[]",
        b'{"model": 3}',
        b'{"vocab": {}}',
    ):
        for sentence in damaged(tmp_path / "file", content):
            assert str(tmp_path / "file") in sentence
            assert "\n" not in sentence.strip()
            assert len(sentence) < 600
    said = damaged(tmp_path / "file", b'{"a": 1, "a": 2}')
    assert "the name 'a' occurs twice in one object" in said[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"merges": ["a b"], "ids": {"a": 4, "b": 4}}, "'a' and 'b' have the same id, 4"),
        ({"merges": ["a b"], "ids": {"a": 4, "b": 5}}, "merge 1, 'a b', makes a part that has no id"),
        ({"merges": [], "special_tokens": {"<a>": 9, "<b>": 9}}, "'<a>' and '<b>' have the same id, 9"),
        ({"merges": [], "special_tokens": ["<a>"]}, "special_tokens must be an object of ids"),
        ({"merges": [], "special_tokens": {"<a>": "9"}}, "the id of '<a>' must be an integer"),
        ({"merges": [], "special_tokens": {"<a>": [9]}}, "the id of '<a>' must be an integer"),
        ({"merges": [], "unknown_id": 1.0}, "unknown_id must be the id of a special token, not 1.0"),
        ({"merges": [], "unknown_id": 77}, "unknown_id must be the id of a special token, not 77"),
        ({"merges": [], "prefix_space": 1}, "prefix_space must be true or false, not 1"),
        ({"ranked": True, "ids": 4}, "ids must be an object of ids"),
    ],
)
def test_a_damaged_file_of_our_own_is_refused(content: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    head = {"format": "handgrad-tokenizer", "version": 1, "kind": "bpe", "pattern": "gpt2"}
    path.write_text(json.dumps(head | content))
    with pytest.raises(InputError, match=f"is damaged: {sentence}"):
        load_tokenizer(path)


def test_an_error_stays_short_where_a_value_is_long(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"format": "handgrad-tokenizer", "version": 1, "kind": "x" * 100_000}))
    with pytest.raises(
        InputError, match=r"holds a tokenizer of unknown kind 'xxx.*… .*choose from char, word, bpe"
    ) as raised:
        load_tokenizer(path)
    assert len(str(raised.value)) < 1100


def test_a_space_to_begin_with_is_given_once(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    content = changed(
        json.loads((tmp_path / "tokenizer.json").read_text("utf-8")), "pre_tokenizer.add_prefix_space", True
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    spaced = BPETokenizer.from_huggingface(tmp_path)
    assert spaced.encode("She sells").tolist() == tokenizer.encode(" She sells").tolist()
    assert spaced.encode(" She sells").tolist() == tokenizer.encode(" She sells").tolist()
    assert spaced.encode("").tolist() == spaced.encode("", allow_special=True).tolist() == []
    assert spaced.encode_on("She sells").tolist() == tokenizer.encode("She sells").tolist()
    assert spaced.train(SAMPLE).encode("ok")[0] == spaced.encode_on(" ok")[0]  # the space stays after training
    assert spaced != BPETokenizer(max_vocab_size=spaced.max_vocab_size, special_tokens=["<user>"]).train(SAMPLE)


def test_a_part_that_looks_like_a_special_token_cannot_be_told_apart(tmp_path: Path) -> None:
    tokenizer = BPETokenizer(pattern="none", max_vocab_size=300).train("<eos><eos><eos>")
    assert "<eos>" in tokenizer.tokens("<eos>")
    with pytest.raises(InputError, match="'<eos>' is both a special token and a part of text"):
        tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())


def test_only_byte_pairs_go_elsewhere(tmp_path: Path) -> None:
    says = r"only byte-pair encodings can be written as .*x.json; this is a char tokenizer"
    with pytest.raises(InputError, match=says):
        CharTokenizer("ab").to_huggingface(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_gpt2s_files_must_belong_together(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    tokenizer.to_vocab_and_merges(tmp_path)
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab.write_text(json.dumps({part: i for part, i in json.loads(vocab.read_text("utf-8")).items() if part != "!"}))
    with pytest.raises(InputError, match="1 of the 256 bytes have no id, the first of them '!'"):
        BPETokenizer.from_vocab_and_merges(vocab, merges)
    tokenizer.to_vocab_and_merges(tmp_path)
    merges.write_text("#version: 0.2\nq q\n")
    loaded = json.loads(vocab.read_text("utf-8"))
    assert "qq" not in loaded
    with pytest.raises(InputError, match="merge 1, 'q q', makes a part that has no id"):
        BPETokenizer.from_vocab_and_merges(vocab, merges)
