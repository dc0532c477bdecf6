"""Corpora, token files and batches: no token is lost or used twice, and damaged files are refused."""

import ast
import hashlib
import io
import itertools
import json
import pickle
import re
import textwrap
from collections.abc import Callable
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.data import (
    DATASETS,
    IGNORED,
    Corpus,
    TokenData,
    encode_corpus,
    load_dataset,
    load_text,
    open_token_files,
    random_batch,
    sequential_batches,
    write_token_files,
)
from handgrad.data.standard_library import short_functions
from handgrad.system.errors import InputError
from handgrad.tokenizers import CharTokenizer

TEXT = "the quick brown fox jumps over the lazy dog\n" * 5


def encoded(text: str = TEXT, source: str = "a text") -> TokenData:
    return encode_corpus(Corpus(text, source), CharTokenizer().train(text))


# Corpora


@settings(deadline=None)
@given(st.text())
def test_the_split_is_nine_to_one_by_position_and_loses_nothing(text: str) -> None:
    train, validation = Corpus(text, "").split()
    assert train + validation == text
    assert len(train) == 9 * len(text) // 10


def test_the_split_counts_characters_not_bytes() -> None:
    assert Corpus("é🦓" * 5, "").split() == ("é🦓" * 4 + "é", "🦓")


def test_the_hash_of_a_corpus_is_that_of_its_text_in_utf_8() -> None:
    assert Corpus("é", "here").sha256 == hashlib.sha256("é".encode()).hexdigest()
    assert Corpus("é", "here") != Corpus("é", "there")


def test_pydoc_is_long_and_always_the_same() -> None:
    corpus = load_dataset("pydoc")
    assert len(corpus.text) > 300_000
    assert corpus.source == "dataset pydoc"
    assert "assert_stmt ::=" in corpus.text.replace("**", "").replace('"', "")
    assert load_dataset("pydoc").sha256 == corpus.sha256
    assert set(DATASETS) == {"functions", "pydoc", "shakespeare"}


def test_the_functions_of_the_standard_library_are_functions_each_once_and_in_no_order_of_names() -> None:
    corpus = load_dataset("functions")
    assert load_dataset("functions").sha256 == corpus.sha256
    assert corpus.source == "dataset functions"
    assert len(corpus.text) > 300_000
    assert corpus.text.isascii()
    functions = short_functions()
    assert "\n\n".join(functions) == corpus.text
    assert len(set(functions)) == len(functions) > 1000
    assert getsource(textwrap.shorten) in functions
    for function in functions:
        (node,) = ast.parse(function).body
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(node)
        assert function.count("\n") <= 24
        assert re.search(r"\S\n$", function)
    names = [re.search(r"def (\w+)", function)[1] for function in functions]  # type: ignore[index]
    assert sum(name < later for name, later in itertools.pairwise(names)) < 0.6 * len(names)


def test_a_standard_library_without_source_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_bytes(b"def \xff")
    (tmp_path / "unparsed.py").write_text("def f(:\n")
    (tmp_path / "plain.py").write_text("def undocumented():\n    pass\n")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match="without the source of its standard library; pass --text FILE or --dataset"):
        load_dataset("functions")


def test_functions_lose_their_indentation_and_keep_their_decorators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    too_long = "def too_long():\n    'Its body has many lines.'\n" + "    pass\n" * 23
    (tmp_path / "module.py").write_text(
        "class A:\n"
        "    class B:\n"
        "    \t@property\n"
        "    \tdef b(self):\n"
        "    \t    'It is documented.'   \n"
        "\n"
        "    \t    def inner():\n"
        "    \t    \t'It does not stand twice.'\n"
        "    async def a(self):\n"
        "        'It is documented, too.'\n"
        f"{too_long}"
        "def not_ascii():\n    'é'\n"
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "of_it.py").write_text("def left_out():\n    'A test.'\n")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert sorted(short_functions()) == [
        "@property\ndef b(self):\n    'It is documented.'\n\n    def inner():\n        'It does not stand twice.'\n",
        "async def a(self):\n    'It is documented, too.'\n",
    ]


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^unknown data set 'iliad'; choose from functions, pydoc, shakespeare$"):
        load_dataset("iliad")


def test_a_text_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("a\r\nb\rc\n\0é🦓\ufeff".encode())
    corpus = load_text(path)
    assert corpus.text == "a\r\nb\rc\n\0é🦓\ufeff"  # line ends stay, and so does a mark that is not at the start
    assert corpus.source == str(path)


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert load_text(path).text == "abc"


def test_texts_that_cannot_be_read_are_named_in_one_sentence(tmp_path: Path) -> None:
    missing, empty, latin = tmp_path / "missing.txt", tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_bytes(b"")
    latin.write_bytes("caf\xe9 noir".encode("latin-1"))
    for path, says in (
        (missing, f"{missing}: no such file"),
        (tmp_path, f"{tmp_path} is a directory; a text file is needed"),
        (empty, f"{empty} is empty; a text is needed"),
        (latin, f"{latin} is not UTF-8: byte 0xe9 at offset 3 (invalid continuation byte); convert it first, "),
    ):
        with pytest.raises(InputError) as caught:
            load_text(path)
        assert str(caught.value).startswith(says)
        assert "\n" not in str(caught.value)


# Token files


def test_token_files_come_back_as_they_were_written(tmp_path: Path) -> None:
    data = encoded()
    write_token_files(tmp_path / "new" / "tokens", data)
    opened = open_token_files(tmp_path / "new" / "tokens")
    assert opened.tokenizer == data.tokenizer
    assert opened.meta == data.meta
    text = opened.tokenizer.decode(opened.train) + opened.tokenizer.decode(opened.validation)
    assert text == TEXT
    assert opened.tokenizer.decode(opened.validation) == Corpus(TEXT, "").split()[1]
    names = sorted(path.name for path in (tmp_path / "new" / "tokens").iterdir())
    assert names == ["meta.json", "tokenizer.json", "train.npy", "validation.npy"]


def test_opened_token_files_are_memory_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    write_token_files(tmp_path, encoded())
    opened = open_token_files(tmp_path)
    for part in (opened.train, opened.validation):
        assert isinstance(part, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1


def test_token_files_say_what_they_are_of(tmp_path: Path) -> None:
    data = encoded(source="the fox")
    write_token_files(tmp_path, data)
    train, validation = Corpus(TEXT, "").split()
    content = json.loads((tmp_path / "meta.json").read_text())
    for part in ("train", "validation"):
        ids = np.load(tmp_path / f"{part}.npy")
        assert content.pop(f"{part}_sha256") == hashlib.sha256(ids.tobytes()).hexdigest()
    assert content == {
        "source": "the fox",
        "corpus_sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        "tokenizer_kind": "char",
        "tokenizer_sha256": hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest(),
        "vocab_size": data.tokenizer.vocab_size,
        "dtype": "uint16",
        "train_tokens": len(train),
        "train_characters": len(train),
        "validation_tokens": len(validation),
        "validation_characters": len(validation),
        "validation_lossless": True,
        "version": 1,
    }
    assert data.tokens_per_character == 1.0


def test_without_a_lossless_validation_text_there_is_no_rate_per_character() -> None:
    text = "a" * 99 + "?"
    data = encode_corpus(Corpus(text, ""), CharTokenizer().train(text[:90]))
    assert data.validation.tolist() == [4] * 9 + [1]
    assert data.meta.validation_lossless is False
    assert data.tokens_per_character is None


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_the_dtype_is_the_smallest_that_holds_every_id(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    # Ids go to vocab_size - 1, so 65536 tokens still fit in 16 bits and one more does not.
    characters = [chr(0x10000 + i) for i in range(vocab_size - 4)]
    tokenizer = CharTokenizer(characters)
    text = "".join(characters[-20:])
    write_token_files(tmp_path, encode_corpus(Corpus(text, ""), tokenizer))
    opened = open_token_files(tmp_path)
    assert opened.tokenizer.vocab_size == vocab_size
    assert opened.train.dtype == opened.validation.dtype == dtype
    assert opened.meta.dtype == np.dtype(dtype).name
    assert opened.validation[-1] == vocab_size - 1
    assert opened.tokenizer.decode(opened.train) + opened.tokenizer.decode(opened.validation) == text


def npy(array: Any, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def changed_meta(**values: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        path = directory / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def changed_train(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda directory: (directory / "train.npy").write_bytes(change((directory / "train.npy").read_bytes()))


N_TRAIN = len(Corpus(TEXT, "").split()[0])


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda d: (d / "meta.json").unlink(), "is not a directory of token files: it has no meta.json"),
        (lambda d: (d / "meta.json").write_text("{"), "is not valid JSON"),
        (lambda d: (d / "meta.json").write_text("[]"), "must hold a JSON object"),
        (
            lambda d: (d / "meta.json").write_text("{}"),
            "meta.json does not describe token files: it has no corpus_sha256",
        ),
        (changed_meta(colour="red"), "it has an unknown field 'colour'"),
        (changed_meta(train_tokens=1.5), "train_tokens must be int, not '1.5'"),
        (changed_meta(validation_lossless=1), "validation_lossless must be bool, not '1'"),
        (changed_meta(version=2), "holds token files of version 2, not 1"),
        (changed_meta(train_tokens=N_TRAIN + 1), rf"holds uint16 \({N_TRAIN},\), not the uint16 \({N_TRAIN + 1},\)"),
        (changed_meta(validation_tokens=0), r"validation\.npy holds uint16"),
        (changed_meta(dtype="uint32"), rf"holds uint16 \({N_TRAIN},\), not the uint32"),
        (lambda d: (d / "tokenizer.json").unlink(), r"tokenizer\.json: no such file"),
        (lambda d: CharTokenizer("xyz").save(d / "tokenizer.json"), "is not the tokenizer that made the token files"),
        (lambda d: (d / "train.npy").unlink(), r"train\.npy cannot be read as a token file"),
        (lambda d: (d / "validation.npy").unlink(), r"validation\.npy cannot be read as a token file"),
        (changed_train(lambda raw: b""), r"train\.npy cannot be read as a token file"),
        (changed_train(lambda raw: raw[:60]), r"train\.npy cannot be read as a token file"),  # inside the header
        (changed_train(lambda raw: raw[:-2]), r"train\.npy cannot be read as a token file"),
        (changed_train(lambda raw: b"text"), r"train\.npy cannot be read as a token file"),
        (changed_train(lambda raw: pickle.dumps([1, 2])), r"train\.npy cannot be read as a token file"),
        (changed_train(lambda raw: npy(np.array([{}], object), True)), r"train\.npy cannot be read as a token file"),
        (changed_train(lambda raw: npy(np.zeros(N_TRAIN, np.int64))), rf"holds int64 \({N_TRAIN},\), not the uint16"),
        (changed_train(lambda raw: npy(np.zeros((N_TRAIN, 1), np.uint16))), rf"holds uint16 \({N_TRAIN}, 1\), not"),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together_are_refused_in_one_sentence(
    tmp_path: Path, tamper: Callable[[Path], Any], says: str
) -> None:
    write_token_files(tmp_path, encoded())
    open_token_files(tmp_path)
    tamper(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        open_token_files(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_in_a_token_file_is_never_run(tmp_path: Path) -> None:
    write_token_files(tmp_path, encoded())
    (tmp_path / "train.npy").write_bytes(npy(np.array([Bomb(tmp_path / "went-off")], object), True))
    with pytest.raises(InputError):
        open_token_files(tmp_path)
    assert not (tmp_path / "went-off").exists()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# Lengths


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 400))
def test_check_length_accepts_the_least_length_it_names_and_no_less(block_size: int, length: int) -> None:
    def check(characters: int) -> None:
        encoded("a" * characters).check_length(block_size)

    least = 10 * block_size + 1  # the last tenth then has block_size + 1 characters
    check(least)
    for too_short in {least - 1, min(length, least - 1)}:
        with pytest.raises(InputError, match=rf"give at least {least} characters or a smaller block_size$"):
            check(too_short)


def test_check_length_says_which_part_of_which_text_is_too_short() -> None:
    with pytest.raises(InputError) as caught:
        encoded("a" * 50, source="a short text").check_length(8)
    assert str(caught.value) == (
        "the text (a short text) is too short: its validation part has 5 tokens, and block_size 8 needs 9; "
        "give at least 81 characters or a smaller block_size"
    )
    with pytest.raises(InputError, match="its training part has 45 tokens"):
        encoded("a" * 50).check_length(45)


# Batches


def test_a_random_batch_is_windows_of_the_text_and_the_tokens_that_follow() -> None:
    tokens = np.arange(1000, 1200).astype(np.uint16)
    x, y = random_batch(tokens, 5, 7, np.random.default_rng(0))
    assert x.shape == y.shape == (5, 7)
    assert x.dtype == y.dtype == np.int64
    np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(x, x[:, :1] + np.arange(7))
    assert set(x.ravel()) <= set(tokens.tolist())


def test_random_batches_are_seeded_and_differ_from_one_another() -> None:
    tokens = np.arange(10_000)
    first, second, repeated = (np.random.default_rng(seed) for seed in (1, 2, 1))
    x = random_batch(tokens, 8, 4, first)[0]
    np.testing.assert_array_equal(x, random_batch(tokens, 8, 4, repeated)[0])
    assert not np.array_equal(x, random_batch(tokens, 8, 4, second)[0])
    assert not np.array_equal(x, random_batch(tokens, 8, 4, first)[0])  # the generator has moved on


def test_every_start_comes_the_last_one_too_and_none_beyond() -> None:
    tokens = np.arange(10)
    x, y = random_batch(tokens, 2000, 3, np.random.default_rng(0))
    starts, counts = np.unique(x[:, 0], return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert y.max() == 9
    assert counts.min() > 200  # 2000 / 7 is 286, give or take 16


def test_a_text_of_one_window_gives_that_window_and_a_shorter_one_is_refused() -> None:
    x, y = random_batch(np.arange(4), 3, 3, np.random.default_rng(0))
    assert x.tolist() == [[0, 1, 2]] * 3
    assert y.tolist() == [[1, 2, 3]] * 3
    with pytest.raises(ValueError, match="random_batch: 3 tokens, too few for a window of 3 and its next token"):
        random_batch(np.arange(3), 3, 3, np.random.default_rng(0))


@settings(deadline=None)
@given(st.integers(0, 120), st.integers(1, 5), st.integers(1, 13))
def test_sequential_batches_predict_every_token_but_the_first_just_once(length: int, batch: int, block: int) -> None:
    tokens = np.arange(length).astype(np.uint16)
    batches = list(sequential_batches(tokens, batch, block))
    inputs = [token for x, _ in batches for token in x.ravel().tolist()]
    predicted = [token for _, y in batches for token in y.ravel().tolist()]
    assert predicted == list(range(1, length))  # in the order of the text
    assert inputs == list(range(length - 1))  # so windows do not overlap
    for x, y in batches:
        np.testing.assert_array_equal(y, x + 1)
        assert len(x) <= batch
    for x, _ in batches[:-1]:
        assert x.shape[1] == block
    full, rest = divmod(max(length - 1, 0), block)
    widths = [row for x, _ in batches for row in [x.shape[1]] * len(x)]
    assert widths == [block] * full + [rest] * (rest > 0)


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(1, 5), st.integers(1, 13), st.data())
def test_windows_that_overlap_predict_each_token_where_most_stand_before_it(
    length: int, batch: int, block: int, data: st.DataObject
) -> None:
    """Each token but the first once, in the order of the text: from how many tokens, found by trying all windows."""
    stride = data.draw(st.integers(1, block))
    expected = [
        (token, max(token - start for start in range(0, token, stride) if token - start <= block))
        for token in range(1, length)
    ]
    found = []
    for x, y in sequential_batches(np.arange(length).astype(np.uint16), batch, block, stride):
        assert len(x) <= batch
        assert x.shape[1] <= block
        np.testing.assert_array_equal(np.diff(x), 1)
        counted = y != IGNORED
        np.testing.assert_array_equal(y[counted], x[counted] + 1)
        found += [(int(y[row, place]), int(place) + 1) for row, place in np.argwhere(counted)]
    assert found == expected
    assert all(seen >= min(token, block - stride + 1) for token, seen in found)


def test_batches_of_a_memory_mapped_text_are_those_of_the_text_in_memory(tmp_path: Path) -> None:
    data = encoded()
    write_token_files(tmp_path, data)
    opened = open_token_files(tmp_path)
    a = list(sequential_batches(opened.train, 3, 16))
    b = list(sequential_batches(data.train, 3, 16))
    assert len(a) == len(b) > 1
    for (x, y), (x_memory, y_memory) in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, x_memory)
        np.testing.assert_array_equal(y, y_memory)
        assert x.dtype == np.int64
