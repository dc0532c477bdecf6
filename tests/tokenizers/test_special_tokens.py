"""Special tokens: plain text unless they are allowed, in all tokenizers; and the errors of strict decoding."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.system.errors import InputError
from handgrad.tokenizers import SPECIAL_TOKENS, BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer, load_tokenizer

TEXT = "<eos> <user> hello <user2> <pad>, world"
KINDS: list[Callable[..., Tokenizer]] = [
    CharTokenizer,
    WordTokenizer,
    BPETokenizer,
    lambda **options: CharTokenizer(byte_fallback=True, **options),
    lambda **options: WordTokenizer(byte_fallback=True, **options),
]
every_kind = pytest.mark.parametrize("make", KINDS)


@every_kind
def test_a_special_token_is_text_unless_it_is_allowed(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make(special_tokens=["<user>", "<user2>"]).train(TEXT)
    assert tokenizer.special_tokens == {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3, "<user>": 4, "<user2>": 5}
    assert tokenizer.special_ids == (0, 1, 2, 3, 4, 5)
    assert (tokenizer.unk_id, tokenizer.eos_id) == (1, 3)

    plain = tokenizer.encode(TEXT)
    assert not np.isin(plain, tokenizer.special_ids).any()
    assert tokenizer.decode(plain) == TEXT
    hello = [*tokenizer.encode(" "), 4, *tokenizer.encode(" hello "), 5, *tokenizer.encode(" ")]
    everything = tokenizer.encode(TEXT, allow_special=True)
    assert everything.dtype == np.int32
    assert everything.tolist() == [3, *hello, 0, *tokenizer.encode(", world")]
    one = tokenizer.encode(TEXT, allow_special=["<user2>"])
    before, after = TEXT.split("<user2>")
    assert one.tolist() == [*tokenizer.encode(before), 5, *tokenizer.encode(after)]
    assert tokenizer.tokens("<user>hello", allow_special=True)[0] == "<user>"
    assert tokenizer.decode(everything) == TEXT
    assert tokenizer.decode_bytes(everything) == TEXT.encode()


@every_kind
def test_of_two_special_tokens_the_longer_is_meant(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make(special_tokens=["<|", "<|end|>", "|>"]).train("ab")
    assert tokenizer.encode("<|end|><||><|end", allow_special=True)[:3].tolist() == [5, 4, 6]
    assert tokenizer.encode("", allow_special=True).shape == (0,)
    assert tokenizer.encode("ab", allow_special=[]).tolist() == tokenizer.encode("ab").tolist()
    assert tokenizer.encode("<|", allow_special="<|").tolist() == [4]


@every_kind
@pytest.mark.parametrize(
    ("special_tokens", "sentence"),
    [
        (["<eos>"], "the special token '<eos>' occurs twice"),
        (["<a>", "<a>"], "the special token '<a>' occurs twice"),
        ([""], "a special token must be a text of at least one character, not ''"),
        (["\ud800"], "a special token must be a text"),
    ],
)
def test_special_tokens_that_cannot_be_are_refused(
    make: Callable[..., Tokenizer], special_tokens: list[str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        make(special_tokens=special_tokens)


@every_kind
def test_what_is_allowed_must_be_there(make: Callable[..., Tokenizer]) -> None:
    says = "'<user>' is not a special token; this tokenizer has <pad>, <unk>, <bos>, <eos>"
    with pytest.raises(InputError, match=says):
        make().train("a").encode("a", allow_special=["<user>"])


@every_kind
def test_special_tokens_are_saved_and_are_part_of_what_a_tokenizer_is(
    make: Callable[..., Tokenizer], tmp_path: Path
) -> None:
    tokenizer = make(special_tokens=["<user>"]).train(TEXT)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded == tokenizer == pickle.loads(pickle.dumps(tokenizer))
    assert loaded != make().train(TEXT)
    np.testing.assert_array_equal(loaded.encode(TEXT, allow_special=True), tokenizer.encode(TEXT, allow_special=True))
    assert loaded.train(TEXT) == tokenizer  # and training again keeps them


@pytest.mark.parametrize("kind", ["char", "word"])
@pytest.mark.parametrize(
    ("special_tokens", "sentence"),
    [
        ({}, "special_tokens must be a list of strings"),
        ([*SPECIAL_TOKENS, 4], "special_tokens must be a list of strings"),
        (["<user>"], "special_tokens must begin with <pad>, <unk>, <bos>, <eos>"),
        ([*SPECIAL_TOKENS, "<pad>"], "the special token '<pad>' occurs twice"),
    ],
)
def test_damaged_special_tokens_are_refused(kind: str, special_tokens: Any, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    known = {"characters": ["a"], "words": ["a"], "lowercase": False}
    content = {"format": "handgrad-tokenizer", "version": 1, "kind": kind, "special_tokens": special_tokens, **known}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"is damaged: {sentence}"):
        load_tokenizer(path)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*"ab<>|é ", "<user>", "<|x|>", "<eos>"])).map("".join))
def test_every_text_comes_back_also_with_special_tokens(text: str) -> None:
    for make in KINDS[2:]:
        tokenizer = make(special_tokens=["<user>", "<|x|>"]).train("ab")
        assert tokenizer.decode(tokenizer.encode(text, allow_special=True)) == text


@pytest.mark.parametrize("make", KINDS[2:])
def test_bytes_that_are_not_utf_8_say_so_on_request(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make().train("abc")
    ids = tokenizer.encode("a✓b").tolist()
    cut = [*ids[:3], *ids[4:]]
    assert tokenizer.decode(ids, errors="strict") == "a✓b"
    assert tokenizer.decode(cut) == "a\ufffdb"
    with pytest.raises(InputError) as raised:
        tokenizer.decode(cut, errors="strict")
    assert str(raised.value) == (
        f"decode: the bytes E2 9C are not UTF-8 (invalid continuation byte), starting in id {cut[1]} at position 1"
    )
    with pytest.raises(InputError, match="errors must be replace or strict, not 'ignore'"):
        tokenizer.decode(ids, errors="ignore")
