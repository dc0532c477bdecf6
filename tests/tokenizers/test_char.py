"""The character tokenizer: exact round trips, ids in a fixed order, damaged files are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.system.errors import InputError
from handgrad.tokenizers import SPECIAL_TOKENS, CharTokenizer, Tokenizer, load_tokenizer, make_tokenizer

# All of Unicode except surrogates, which are not characters; includes NUL, newlines and the highest planes.
TEXT = st.text(st.characters(exclude_categories=("Cs",)))


@settings(deadline=None, max_examples=150)
@given(TEXT)
def test_decode_gives_back_what_was_encoded(text: str) -> None:
    tokenizer = CharTokenizer().train(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.tokens(text) == list(text)
    assert len(ids) == len(text)  # one id for each code point, also beyond the basic plane
    assert not np.isin(ids, tokenizer.special_ids).any()


@settings(deadline=None, max_examples=150)
@given(TEXT, TEXT)
def test_unseen_characters_are_unknown_and_the_others_are_not(seen: str, text: str) -> None:
    tokenizer = CharTokenizer().train(seen)
    expected = [4 + sorted(set(seen)).index(c) if c in seen else tokenizer.unk_id for c in text]
    assert tokenizer.encode(text).tolist() == expected
    assert tokenizer.tokens(text) == [c if c in seen else "<unk>" for c in text]


@pytest.mark.parametrize("text", ["\0", "a\0b", "\r\n\n\r", "\ufeffx", "é\u0301", "👩\u200d💻\U0010ffff", " \u2028\t"])
def test_characters_that_tools_like_to_change_stay(text: str) -> None:
    tokenizer = CharTokenizer().train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_lone_surrogate_is_a_character_like_any_other() -> None:
    tokenizer = CharTokenizer().train(["a\ud800", "b"])
    assert tokenizer.encode("\ud800b").tolist() == [6, 5]
    assert tokenizer.decode([6, 4]) == "\ud800a"


def test_special_tokens_stand_first_and_characters_follow_in_code_point_order() -> None:
    tokenizer = CharTokenizer().train("zebra 🦓 Zoë")
    assert SPECIAL_TOKENS == ("<pad>", "<unk>", "<bos>", "<eos>")
    assert tokenizer.special_ids == (0, 1, 2, 3)
    assert (tokenizer.unk_id, tokenizer.eos_id) == (1, 3)
    assert tokenizer.characters == (" ", "Z", "a", "b", "e", "o", "r", "z", "ë", "🦓")
    assert tokenizer.encode(" Zab🦓").tolist() == [4, 5, 6, 7, 13]
    assert tokenizer.decode([0, 1, 2, 3]) == "<pad><unk><bos><eos>"
    assert tokenizer.vocab_size == 14


def test_text_that_looks_like_a_special_token_is_text() -> None:
    tokenizer = CharTokenizer().train("<eos>")
    assert tokenizer.encode("<eos>").tolist() == [4, 6, 7, 8, 5]  # < e o s >, by code points: < > e o s


def test_ids_are_int32_and_decode_takes_any_iterable_of_ids() -> None:
    tokenizer = CharTokenizer().train("abc")
    ids = tokenizer.encode("cab")
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    for form in (ids, ids.astype(np.uint16), ids.astype(np.uint32), ids.tolist(), tuple(ids), iter(ids.tolist())):
        assert tokenizer.decode(form) == "cab"


def test_an_empty_text_has_no_ids_and_no_ids_have_no_text() -> None:
    for tokenizer in (CharTokenizer(), CharTokenizer().train(""), CharTokenizer().train("abc")):
        ids = tokenizer.encode("")
        assert ids.shape == (0,)
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids) == tokenizer.decode([]) == ""
    assert CharTokenizer().train("").vocab_size == 4
    assert CharTokenizer().encode("ab").tolist() == [1, 1]


@pytest.mark.parametrize("ids", [[-1], [7], [4, 5, 900], np.array([-5]), np.array([65535], np.uint16)])
def test_decoding_an_id_outside_the_vocabulary_is_refused(ids: Any) -> None:
    # NumPy and lists would take a negative id as an index from the end.
    with pytest.raises(IndexError, match=r"decode: id -?\d+ is outside the vocabulary of 7 tokens"):
        CharTokenizer().train("abc").decode(ids)


def test_max_vocab_size_keeps_the_most_frequent_characters() -> None:
    text = "aaaaa" + "ccc" + "bbbb" + "d"
    tokenizer = CharTokenizer(max_vocab_size=7).train(text)
    assert tokenizer.characters == ("a", "b", "c")
    assert tokenizer.encode("abcd").tolist() == [4, 5, 6, tokenizer.unk_id]
    assert CharTokenizer(max_vocab_size=5).train(text).characters == ("a",)
    assert CharTokenizer(max_vocab_size=100).train(text).characters == ("a", "b", "c", "d")


def test_among_equally_frequent_characters_the_lower_code_point_is_kept() -> None:
    # In any order of the text: a plain Counter would keep the first seen.
    for text in ("zyxz", "xyzz", "yzxz"):
        assert CharTokenizer(max_vocab_size=6).train(text).characters == ("x", "z")


@pytest.mark.parametrize("size", [4, 0, -3])
def test_a_vocabulary_without_room_for_a_character_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=rf"vocab_size must exceed the 4 special tokens, not be {size}"):
        CharTokenizer(max_vocab_size=size)


def test_training_takes_several_texts_and_replaces_what_was_learned() -> None:
    tokenizer = CharTokenizer(max_vocab_size=5).train(["ab", "b", ""])
    assert tokenizer.characters == ("b",)  # counted over all the texts
    assert tokenizer.train("c") is tokenizer
    assert tokenizer.characters == ("c",)
    assert tokenizer.encode("bc").tolist() == [1, 4]


@settings(deadline=None, max_examples=50)
@given(TEXT)
def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer = CharTokenizer().train(text)
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert isinstance(loaded, CharTokenizer)
    assert loaded == tokenizer
    assert (loaded.characters, loaded.sha256, hash(loaded)) == (tokenizer.characters, tokenizer.sha256, hash(tokenizer))
    assert loaded.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_equality_and_hash_are_those_of_the_vocabulary() -> None:
    one, same, other = (CharTokenizer().train(text) for text in ("abc", "cab", "abd"))
    assert one == same
    assert one.sha256 == same.sha256
    assert one != other
    assert one.sha256 != other.sha256
    assert one != "abc"


def test_the_file_is_plain_ascii_json(tmp_path: Path) -> None:
    CharTokenizer().train("é🦓\0").save(tmp_path / "t.json")
    raw = (tmp_path / "t.json").read_bytes()
    assert raw.isascii()
    assert json.loads(raw) == {
        "format": "handgrad-tokenizer", "version": 1, "kind": "char", "characters": ["\0", "é", "🦓"],
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]  # no temporary file stays


GOOD = {"format": "handgrad-tokenizer", "version": 1, "kind": "char", "characters": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(GOOD)[:-10], "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"a":' * 100_000, "is not valid JSON"),
        (b"\xff\xfe\xff", "is not valid JSON"),
        (b"\x00\x01\x02\x03", "is not valid JSON"),
        ("[1, 2]", "must hold a JSON object, not a list"),
        ("null", "must hold a JSON object, not a NoneType"),
        ('"abc"', "must hold a JSON object, not a str"),
        ("{}", "is not a handgrad tokenizer of version 1"),
        ({**GOOD, "format": "other"}, "is not a handgrad tokenizer of version 1"),
        ({**GOOD, "version": 2}, "is not a handgrad tokenizer of version 1"),
        ({**GOOD, "kind": "bpe9"}, "holds a tokenizer of unknown kind 'bpe9'; choose from "),
        ({**GOOD, "kind": ["char"]}, r"holds a tokenizer of unknown kind \['char'\]; choose from "),
        ({**GOOD, "kind": None}, "holds a tokenizer of unknown kind None; choose from "),
        ({**GOOD, "characters": ["a", "a"]}, "is damaged: characters must be distinct and in code point order"),
        ({**GOOD, "characters": ["b", "a"]}, "is damaged: characters must be distinct and in code point order"),
        ({**GOOD, "characters": ["a", "bc"]}, "is damaged: characters must be a list of single characters"),
        ({**GOOD, "characters": ["", "a"]}, "is damaged: characters must be a list of single characters"),
        ({**GOOD, "characters": "ab"}, "is damaged: characters must be a list of single characters"),
        ({**GOOD, "characters": [97, 98]}, "is damaged: characters must be a list of single characters"),
        ({**GOOD, "characters": [["a"]]}, "is damaged: characters must be a list of single characters"),
        ({**GOOD, "characters": None}, "is damaged: characters must be a list of single characters"),
        ({k: v for k, v in GOOD.items() if k != "characters"}, "is damaged: characters must be a list of single"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_hostile_file_is_refused_in_one_sentence(tmp_path: Path, content: str | bytes | dict, says: str) -> None:
    path = tmp_path / "tokenizer.json"
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=says) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200  # it does not repeat the file's content


def test_the_good_file_that_the_hostile_ones_are_made_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(GOOD))
    assert load_tokenizer(str(tmp_path / "t.json")) == CharTokenizer("ab")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        load_tokenizer(tmp_path / "none.json")


def test_make_tokenizer_by_kind() -> None:
    tokenizer = make_tokenizer("char", 5)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.train("aab").tokens("ab") == ["a", "<unk>"]
    with pytest.raises(InputError, match="unknown tokenizer 'words'; choose from char"):
        make_tokenizer("words")
