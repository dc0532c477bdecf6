"""Byte-pair encoding: every text comes back, merges equal those of a plain count, damaged files are refused."""

import json
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.system import backend_setting
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, load_tokenizer, make_tokenizer
from handgrad.tokenizers.bpe.byte_pairs import BYTES
from handgrad.tokenizers.bpe.learning import Merge, learn_merges
from handgrad.tokenizers.bpe.merging import TokenPair, merge_all, merged
from handgrad.tokenizers.splitting import NAMES, splitter

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
FEW = st.text("ab c", max_size=60)
HARD = [
    "\0",
    "a\0b",
    "\r\n\n\r ",
    "é\u0301",
    "\u0301\u0301",
    "👩\u200d💻👨\u200d👩\u200d👧\U0010ffff",
    " \u2028\t\x1c",
    "''s'LL",
]
SAMPLE = "She sells sea shells, she'll sell 12345 more; SHE'S selling!\n\n  ok\t" * 20
repeatedly = settings(deadline=None, max_examples=100)


@pytest.mark.parametrize("pattern", NAMES)
@repeatedly
@given(TEXT)
def test_every_text_comes_back(pattern: str, text: str) -> None:
    pieces = splitter(pattern)(text)
    assert "".join(pieces) == text
    assert "" not in pieces
    tokenizer = BPETokenizer(pattern=pattern, max_vocab_size=300).train([SAMPLE, text])
    for each in (text, *HARD):
        ids = tokenizer.encode(each)
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids) == each
        assert not np.isin(ids, tokenizer.special_ids).any()


@pytest.mark.slow
def test_a_line_of_a_million_characters_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_setting, "_forced", "numpy")
    line = "ab" * 500_000
    for pattern in NAMES:
        tokenizer = BPETokenizer(pattern=pattern, max_vocab_size=270).train("ab" * 100)
        ids = tokenizer.encode(line)
        assert len(ids) < 20_000
        assert tokenizer.decode(ids) == line


@pytest.mark.parametrize("pattern", NAMES)
@repeatedly
@given(TEXT | FEW, TEXT | FEW)
def test_texts_that_are_cut_apart_are_encoded_apart(pattern: str, first: str, second: str) -> None:
    tokenizer = BPETokenizer(max_vocab_size=300, pattern=pattern).train(SAMPLE)
    split = splitter(pattern)
    for before, after in ((first, second), (first, " a" + second), (first + "\n", second)):
        if split(before) + split(after) == split(before + after):
            joined = [*tokenizer.encode(before), *tokenizer.encode(after)]
            assert tokenizer.encode(before + after).tolist() == joined


def merges_by_counting(pieces: dict[bytes, int], parts: list[bytes], size: int) -> list[Merge]:
    """The definition: count all pairs again before each merge."""
    words = {piece: [parts.index(bytes([byte])) for byte in piece] for piece in pieces}
    parts, merges = list(parts), []
    while len(parts) < size:
        counts: Counter[TokenPair] = Counter()
        for piece, word in words.items():
            for pair in pairwise(word):
                counts[pair] += pieces[piece]
        if not counts:
            break
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[pair] < 2:
            break
        part = parts[pair[0]] + parts[pair[1]]
        if (merge := (parts[pair[0]], parts[pair[1]])) not in merges:
            merges.append(merge)
        if part not in parts:
            parts.append(part)
        words = {piece: merged(word, pair, parts.index(part)) for piece, word in words.items()}
    return merges


@repeatedly
@given(
    st.dictionaries(st.binary(max_size=12).map(lambda b: bytes(97 + x % 3 for x in b)), st.integers(1, 5), max_size=8)
)
def test_merges_are_those_that_counting_anew_gives(pieces: dict[bytes, int]) -> None:
    parts = [b"a", b"b", b"c"]
    assert learn_merges(pieces.items(), parts, 40) == merges_by_counting(pieces, parts, 40)


@repeatedly
@given(FEW, FEW)
def test_merging_takes_what_was_learned_first(text: str, piece: str) -> None:
    tokenizer = BPETokenizer(pattern="none", max_vocab_size=300).train(text * 2)
    parts = [tokenizer.encode(c)[0] for c in piece]
    plain = [int(part) for part in parts]
    ranks = dict(tokenizer._rank_of)
    while True:
        known = [pair for pair in pairwise(plain) if pair in ranks]
        if not known:
            break
        first = min(known, key=ranks.__getitem__)
        plain = merged(plain, first, tokenizer._made_of[first])
    assert (
        merge_all([int(part) for part in parts], tokenizer._made_of, ranks) == plain == tokenizer.encode(piece).tolist()
    )


def test_one_part_made_in_two_ways_has_one_id(tmp_path: Path) -> None:
    content = {"pattern": "none", "merges": ["a b", "b c", "ab c", "a bc"]}
    tokenizer = BPETokenizer.from_content(content)
    assert tokenizer.vocab_size == 260 + 3
    assert tokenizer.encode("abc").tolist() == [262]
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json") == tokenizer


def test_ids_do_not_depend_on_the_order_of_texts() -> None:
    lines = SAMPLE.splitlines(keepends=True)
    assert BPETokenizer(max_vocab_size=320).train(lines) == BPETokenizer(max_vocab_size=320).train(lines[::-1])


def test_bytes_stand_in_gpt2s_order_and_tokens_can_be_looked_at() -> None:
    tokenizer = BPETokenizer(max_vocab_size=263).train("aaabdaaabac")
    assert tokenizer.encode("!~").tolist() == [4, 97]
    assert tokenizer.merges == ((b"a", b"a"), (b"a", b"b"), (b"aa", b"ab"))
    assert tokenizer.tokens("aaab é") == ["aaab", " ", "<C3>", "<A9>"]
    assert tokenizer.decode([0, 3]) == "<pad><eos>"
    assert (tokenizer.kind, tokenizer.vocab_size) == ("bpe", 263)


def test_bytes_that_are_no_characters_become_the_replacement_character() -> None:
    tokenizer = BPETokenizer().train("")
    cut = tokenizer.encode("é")[:1]
    assert tokenizer.decode(cut) == "\ufffd"
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"  # a lone surrogate has no bytes
    for outside in ([-1], [260]):
        with pytest.raises(IndexError, match="is outside the vocabulary of 260 tokens"):
            tokenizer.decode(outside)


def test_what_is_remembered_changes_nothing() -> None:
    warm = BPETokenizer(max_vocab_size=400).train(SAMPLE)
    first = warm.encode(SAMPLE)
    np.testing.assert_array_equal(warm.encode(SAMPLE), first)
    np.testing.assert_array_equal(BPETokenizer.from_content(warm._content()).encode(SAMPLE), first)
    warm.train("other text")
    assert len(warm.encode("She sells")) == 9  # nothing learned before remains


@pytest.mark.parametrize("pattern", NAMES)
def test_a_saved_tokenizer_is_the_same_when_loaded(pattern: str, tmp_path: Path) -> None:
    tokenizer = BPETokenizer(pattern=pattern, max_vocab_size=330).train(SAMPLE)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded == tokenizer
    assert loaded.vocab_size == tokenizer.vocab_size
    np.testing.assert_array_equal(loaded.encode(SAMPLE), tokenizer.encode(SAMPLE))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"pattern": "gpt5", "merges": []}, "pattern must be gpt2, gpt4 or none, not 'gpt5'"),
        ({"pattern": 4, "merges": []}, "pattern must be a string, not 4"),
        ({"pattern": "gpt2"}, "merges must be a list"),
        ({"pattern": "gpt2", "merges": [["a", "b", "c"]]}, "merge 1, .* is not of two parts"),
        ({"pattern": "gpt2", "merges": ["a b", "abc d"]}, "merge 2, 'abc d', is not of two known parts"),
        ({"pattern": "gpt2", "merges": ["ab"]}, "merge 1, 'ab', is not of two parts"),
        ({"pattern": "gpt2", "merges": ["a b", "a b"]}, "merge 2, 'a b', occurs twice"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(content: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"format": "handgrad-tokenizer", "version": 1, "kind": "bpe", **content}))
    with pytest.raises(InputError, match="is damaged: " + sentence):
        load_tokenizer(path)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(
        InputError, match="vocab_size must be at least 260, the special tokens and the 256 bytes, not 259"
    ):
        make_tokenizer("bpe", 259)
    with pytest.raises(InputError, match="pattern must be gpt2, gpt4 or none, not 'words'"):
        BPETokenizer(pattern="words")
    assert make_tokenizer("bpe").train("x").vocab_size == 260


@pytest.mark.parametrize("letters", ["ACGT", "a", "ab"])
def test_one_long_piece_is_learned_in_time_in_proportion_to_its_length(letters: str) -> None:
    """Each merge is made where its pair is; nothing scans the whole piece, as there are a thousand merges."""
    rng = np.random.default_rng(0)
    text = "".join(rng.choice([*letters], 60_000))
    learned = learn_merges([(text.encode(), 1)], BYTES, 1256)
    assert len(learned) == {"a": 15, "ab": 997, "ACGT": 1000}[letters]
    seconds = []
    for length in (15_000, 60_000):
        begun = time.process_time()
        learn_merges([(text[:length].encode(), 1)], BYTES, 1256)
        seconds.append(time.process_time() - begun)
    assert seconds[1] < 10 * seconds[0] + 0.5  # sixteen times as long if it were quadratic


def test_merges_of_random_pieces_are_those_of_counting_anew() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        pieces = [
            (bytes(rng.choice([*b"aab"], rng.integers(1, 30)).astype(np.uint8)), int(rng.integers(1, 4)))
            for _ in range(rng.integers(1, 6))
        ]
        merges = learn_merges(pieces, BYTES, 256 + 12)
        words = [([bytes([byte]) for byte in piece], count) for piece, count in pieces]
        for left, right in merges:
            counts: Counter[tuple[bytes, bytes]] = Counter()
            for word, count in words:
                for pair in pairwise(word):
                    counts[pair] += count
            assert counts[left, right] == max(counts.values()) >= 2
            words = [(joined_once(word, left, right), count) for word, count in words]


def joined_once(word: list[bytes], left: bytes, right: bytes) -> list[bytes]:
    new: list[bytes] = []
    i = 0
    while i < len(word):
        both = word[i : i + 2] == [left, right]
        new.append(left + right if both else word[i])
        i += 1 + both
    return new
