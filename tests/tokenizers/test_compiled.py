"""The compiled kernels compared with the Python code that defines them: the same pieces, counts, merges and ids."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.system import backend_setting
from handgrad.system.backend_setting import use_backend
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, WordTokenizer, kernel_choice
from handgrad.tokenizers.bpe.byte_pairs import BYTES, BytePairs
from handgrad.tokenizers.bpe.learning import learn_merges
from handgrad.tokenizers.counting import count_pieces
from handgrad.tokenizers.splitting import NAMES, WORDS, splitter

pytest.importorskip("numba")

# All of Unicode, with more of what the patterns distinguish: contractions, digits, kinds of white space and letters.
TEXT = st.lists(
    st.sampled_from(
        ["'s", "'LL", "'ſ", "'", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "1", "234", "٣", "½", "_"]
    )
    | st.sampled_from(
        ["a", "b c", "é", "日本", "\U0001d400", "\u0301", "!", "?!", "👩\u200d💻", "\0", "\x1c", "ab" * 60]
    )
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
).map("".join)
SAMPLE = "She sells sea shells, she'll sell 12345 more; SHE'S selling!\n\n  ok\té日本 日本 " * 20
repeatedly = settings(deadline=None, max_examples=200)


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    from handgrad.tokenizers import kernels

    return kernels


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, kernels: ModuleType) -> None:
    monkeypatch.setattr(backend_setting, "_forced", "numba")


def pieces_of(text: str, pattern: str, kernels: ModuleType) -> list[str]:
    content = text.encode()
    ends = kernels.split_pieces(np.frombuffer(content, np.uint8), kernels.PATTERN_NUMBERS[pattern]).tolist()
    return [content[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("pattern", [*NAMES, WORDS])
@repeatedly
@given(text=TEXT)
def test_the_same_pieces(pattern: str, text: str, kernels: ModuleType) -> None:
    assert pieces_of(text, pattern, kernels) == splitter(pattern)(text)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", WORDS])
def test_every_code_point_is_of_the_same_class(pattern: str, kernels: ModuleType) -> None:
    code_points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for text in ("".join(code_points), "x1 ".join(code_points[:0x3000])):
        assert pieces_of(text, pattern, kernels) == splitter(pattern)(text)


def in_both(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any]) -> list[Any]:
    """The results of a function in Python and compiled."""
    found = []
    for wanted in ("numpy", "numba"):
        monkeypatch.setattr(backend_setting, "_forced", wanted)
        assert (kernel_choice.kernels_for(0) is None) is (wanted == "numpy")
        found.append(function())
    return found


@pytest.mark.parametrize("pattern", [*NAMES, WORDS])
def test_the_same_counts(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    many = ["".join(rng.choices("abcdefgh é1", k=rng.randrange(30))) for _ in range(9000)]  # the table grows
    for texts in ([], [""], ["a b", "", "b a b", " b"], [SAMPLE, "é", "x\ud800"], many):
        python, compiled = in_both(monkeypatch, lambda texts=texts: count_pieces(pattern, texts))
        assert compiled == python
    assert len(python) > 5000
    assert python == Counter(piece for text in many for piece in splitter(pattern)(text))


@repeatedly
@given(
    pieces=st.dictionaries(st.lists(st.sampled_from(b"abc"), max_size=14).map(bytes), st.integers(1, 5), max_size=12),
    size=st.integers(256, 300),
)
def test_the_same_merges_of_few_letters(pieces: dict[bytes, int], size: int, kernels: ModuleType) -> None:
    assert kernels.learn_merges(pieces.items(), BYTES, size) == learn_merges(pieces.items(), BYTES, size)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", NAMES)
def test_the_same_merges_of_a_text(pattern: str, kernels: ModuleType) -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("aeiouklmnst", k=rng.randrange(1, 9))) for _ in range(600)]
    text = " ".join(rng.choices(words, k=4000))
    pieces = {piece.encode(): count for piece, count in Counter(splitter(pattern)(text)).items()}
    python = learn_merges(pieces.items(), BYTES, 900)
    assert len(python) > 600
    assert kernels.learn_merges(pieces.items(), BYTES, 900) == python


@pytest.mark.parametrize("pattern", NAMES)
@settings(deadline=None, max_examples=60)
@given(learned_from=TEXT, text=TEXT)
def test_the_same_ids(pattern: str, learned_from: str, text: str, kernels: ModuleType) -> None:
    tokenizer = BPETokenizer(max_vocab_size=320, pattern=pattern).train([SAMPLE, learned_from])
    for each in (text, text + SAMPLE + text, "ab" * 700):
        expected = tokenizer._encode_in_python(each)
        for _ in ("cold", "warm"):
            found = tokenizer._encode_compiled(each, kernels)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, expected)


def test_the_same_ids_of_tokenizers_from_elsewhere(kernels: ModuleType) -> None:
    learned = BPETokenizer(max_vocab_size=600, pattern="none").train(SAMPLE)
    some = {byte: i + 9 for i, byte in enumerate(BYTES) if byte in SAMPLE.encode()}
    few = BytePairs("gpt2", {"<unk>": 3}, {**some, b"se": 2, b"sel": 8}, ((b"s", b"e"), (b"se", b"l")), unknown_id=3)
    ranked = BytePairs("gpt4", {}, learned._pairs.ids, ranked=True, whole_pieces=True)
    for pairs in (few, BytePairs("gpt2", {}, few.ids, few.merges), ranked):
        tokenizer = BPETokenizer.of(pairs)
        assert not tokenizer._whole  # parts that no merge makes are left to Python
        for text in (SAMPLE, "sel\x00sezz\xffselse", "selse" * 99, " sells\n"):
            expected = tokenizer._encode_in_python(text)
            np.testing.assert_array_equal(tokenizer._encode_compiled(text, kernels), expected)
    assert BPETokenizer.of(few)._encode_compiled("s\0e", kernels).tolist().count(3) == 1
    without = BPETokenizer.of(BytePairs("none", {}, few.ids, few.merges))
    assert without._encode_compiled("s\0e", kernels).tolist() == [2]  # a byte that is not a part is dropped


def test_threads_share_a_tokenizer(compiled: None) -> None:
    tokenizer = BPETokenizer(max_vocab_size=400).train(SAMPLE)
    rng = random.Random(2)
    texts = ["".join(rng.choices("abc sell'é\n1", k=20_000)) for _ in range(24)]
    expected = [tokenizer._encode_in_python(text) for text in texts]
    with ThreadPoolExecutor(8) as executor:
        for found, ids in zip(executor.map(tokenizer.encode, texts), expected, strict=True):
            np.testing.assert_array_equal(found, ids)


def test_a_line_of_a_million_characters(compiled: None) -> None:
    for pattern in NAMES:
        tokenizer = BPETokenizer(pattern=pattern, max_vocab_size=270).train("ab" * 1_000_000)
        assert tokenizer.merges[:2] == ((b"a", b"b"), (b"ab", b"ab"))
        ids = tokenizer.encode("ab" * 500_000)
        assert len(ids) < 1000
        assert tokenizer.decode(ids) == "ab" * 500_000


@settings(deadline=None, max_examples=60)
@given(known=TEXT, text=TEXT)
def test_the_same_ids_of_words(known: str, text: str, kernels: ModuleType) -> None:
    for options in ({}, {"byte_fallback": True}, {"lowercase": True, "special_tokens": ["<user>"]}):
        tokenizer = WordTokenizer(**options).train([SAMPLE, known])
        for each in (text, text + SAMPLE + known, ""):
            expected = tokenizer._encode_in_python(each)
            np.testing.assert_array_equal(tokenizer._encode_compiled(each, kernels), expected)
    empty = WordTokenizer(byte_fallback=True)
    np.testing.assert_array_equal(empty._encode_compiled(text, kernels), empty._encode_in_python(text))


def test_words_of_many_are_found_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefé", k=rng.randrange(1, 8))) for _ in range(20_000)]
    tokenizer = WordTokenizer(byte_fallback=True, max_vocab_size=9000).train(" ".join(words))
    python, compiled = in_both(monkeypatch, lambda: tokenizer.encode(" ".join(words) + " x\ud800y"))
    assert tokenizer.vocab_size == 9000
    np.testing.assert_array_equal(compiled, python)


def test_words_are_counted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({}, {"lowercase": True}):
        python, compiled = in_both(monkeypatch, lambda options=options: WordTokenizer(**options).train([SAMPLE, "İ ǅ"]))
        assert compiled == python


@pytest.fixture
def nobody_chose(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("HANDGRAD_BACKEND", raising=False)
    monkeypatch.setattr(kernel_choice, "_worked_on", 0)
    use_backend(None)
    yield
    monkeypatch.undo()
    use_backend(None)


def test_kernels_are_loaded_once_there_is_work_for_them(nobody_chose: None, kernels: ModuleType) -> None:
    assert kernel_choice.kernels_for(kernel_choice.WORTH_LOADING - 1) is None
    assert kernel_choice.kernels_for(1) is kernels
    assert kernel_choice.kernels_for(0) is kernels
    assert kernel_choice.can_be_compiled()


def test_the_environment_chooses_for_tokenizers_too(
    nobody_chose: None, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDGRAD_BACKEND", "numba32")
    use_backend(None)
    with pytest.raises(InputError, match="HANDGRAD_BACKEND must be numpy or numba, not 'numba32'"):
        kernel_choice.kernels_for(1)
    monkeypatch.setenv("HANDGRAD_BACKEND", "numba")
    use_backend(None)
    assert kernel_choice.kernels_for(1) is kernels
    monkeypatch.setenv("HANDGRAD_BACKEND", "numpy")
    use_backend(None)
    assert kernel_choice.kernels_for(kernel_choice.WORTH_LOADING) is None
    assert not kernel_choice.can_be_compiled()


def test_use_backend_reaches_tokenizers(nobody_chose: None, monkeypatch: pytest.MonkeyPatch) -> None:
    merged: list[str] = []
    monkeypatch.setattr(BPETokenizer, "_encode_compiled", lambda self, text, _: merged.append(text) or [])
    tokenizer = BPETokenizer(max_vocab_size=270).train(SAMPLE)
    for name, times in ((None, 0), ("numba", 1), ("numpy", 1), ("numba", 2)):
        use_backend(name)
        tokenizer.encode(SAMPLE)
        assert len(merged) == times
        assert kernel_choice.can_be_compiled() is (name != "numpy")
