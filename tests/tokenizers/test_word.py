"""Words, signs and white space, and unknown words and characters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.system.errors import InputError
from handgrad.tokenizers import CharTokenizer, WordTokenizer, load_tokenizer, make_tokenizer

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
repeatedly = settings(deadline=None, max_examples=150)


@repeatedly
@given(TEXT)
def test_what_was_learned_comes_back(text: str) -> None:
    tokenizer = WordTokenizer().train(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert "".join(tokenizer.tokens(text)) == text
    assert not np.isin(ids, tokenizer.special_ids).any()


@pytest.mark.parametrize("make", [WordTokenizer, CharTokenizer])
@repeatedly
@given(TEXT, TEXT)
def test_with_bytes_to_fall_back_on_everything_comes_back(make: Any, seen: str, text: str) -> None:
    tokenizer = make(byte_fallback=True).train(seen)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert not np.isin(ids, tokenizer.special_ids).any()


@pytest.mark.parametrize("make", [WordTokenizer, CharTokenizer])
def test_bytes_stand_before_what_is_known(make: Any) -> None:
    tokenizer = make(byte_fallback=True).train("a")
    assert tokenizer.vocab_size == 4 + 256 + 1
    assert tokenizer.encode("a").tolist() == [260]
    assert tokenizer.encode("é").tolist() == [4 + 0xC3, 4 + 0xA9]
    assert tokenizer.tokens("é") == ["<C3>", "<A9>"]
    assert tokenizer.decode([4 + 0xC3, 260]) == "\ufffda"  # half a character
    with pytest.raises(InputError, match="exceed the 4 special tokens and the 256 bytes, not be 260"):
        make(byte_fallback=True, max_vocab_size=260)


def test_words_signs_and_white_space() -> None:
    tokenizer = WordTokenizer().train("It's 3_x,  über!\n\tNo…")
    assert tokenizer.tokens("It's 3_x,  über!\n\tNo…") == [
        "It", "'", "s", " ", "3_x", ",", "  ", "über", "!", "\n\t", "No", "…",
    ]  # fmt: skip


def test_the_most_frequent_words_come_first_and_are_kept() -> None:
    text = "b b b a a c c d"
    assert WordTokenizer().train(text).known == (" ", "b", "a", "c", "d")
    assert WordTokenizer(min_freq=2).train(text).known == (" ", "b", "a", "c")
    small = WordTokenizer(max_vocab_size=7).train(text)
    assert small.known == (" ", "b", "a")
    assert small.encode("a d").tolist() == [6, 4, small.unk_id]
    assert small.decode([6, 1]) == "a<unk>"


def test_lower_case_forgets_capitals() -> None:
    tokenizer = WordTokenizer(lowercase=True).train("To be or NOT to be")
    assert tokenizer.decode(tokenizer.encode("NOT TO BE")) == "not to be"


@pytest.mark.parametrize(
    "tokenizer",
    [
        WordTokenizer(lowercase=True, byte_fallback=True, max_vocab_size=264).train("A rose is a rose"),
        WordTokenizer().train("x é"),
        CharTokenizer(byte_fallback=True).train("xyz"),
    ],
)
def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded == tokenizer
    text = "A ROSE is é\0 rose"
    np.testing.assert_array_equal(loaded.encode(text), tokenizer.encode(text))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"kind": "word"}, "words must be a list of strings"),
        ({"kind": "word", "words": ["a", ""]}, "words must be a list of strings that are not empty"),
        ({"kind": "word", "words": ["a", "b", "a"]}, "the word 'a' occurs twice"),
        ({"kind": "word", "words": [], "lowercase": 1}, "lowercase must be true or false, not 1"),
        ({"kind": "char", "characters": [], "byte_fallback": "no"}, "byte_fallback must be true or false, not 'no'"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(content: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"format": "handgrad-tokenizer", "version": 1, **content}))
    with pytest.raises(InputError, match="is damaged: " + sentence):
        load_tokenizer(path)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="min_freq must be at least 1, not 0"):
        WordTokenizer(min_freq=0)
    word = make_tokenizer("word", 300)
    assert isinstance(word, WordTokenizer)
    assert word.byte_fallback
