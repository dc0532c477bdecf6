"""The patterns cut like those they are named after, in ASCII and beyond, with any Python's Unicode version."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.tokenizers.splitting import (
    _ENDS,
    PATTERNS,
    WORDS,
    _ascii_pattern,
    _pattern,
    _pinned,
    place_to_cut,
    splitter,
)
from handgrad.tokenizers.unicode_classes import LETTERS, NUMBERS, WHITE_SPACE

ASCII = st.text(st.characters(max_codepoint=127))


@pytest.mark.parametrize(
    ("pattern", "text", "pieces"),
    [
        ("gpt2", "I'm 25, they'LL go", ["I", "'m", " 25", ",", " they", "'", "LL", " go"]),
        ("gpt4", "I'm 25, they'LL go", ["I", "'m", " ", "25", ",", " they", "'LL", " go"]),
        ("gpt2", "a  b\n\n c ", ["a", " ", " b", "\n\n", " c", " "]),
        ("gpt4", "a  b\n\n c ", ["a", " ", " b", "\n\n", " c", " "]),
        ("gpt2", "12345!?\r\n x", [" 12345"[1:], "!?", "\r\n", " x"]),
        ("gpt4", "12345!?\r\n x", ["123", "45", "!?\r\n", " x"]),
        ("gpt2", "über 日本語 ٣٤ ½", ["über", " 日本語", " ٣٤", " ½"]),
        ("gpt4", "it'ſ", ["it", "'ſ"]),
        ("gpt2", "\x1c\u3000\u2028x", ["\x1c", "\u3000\u2028"[:1], "\u2028", "x"]),
        ("gpt2", "e\u0301", ["e", "\u0301"]),  # a combining mark is not a letter
        ("none", " any \n thing", [" any \n thing"]),
        ("none", "", []),
    ],
)
def test_pieces(pattern: str, text: str, pieces: list[str]) -> None:
    assert splitter(pattern)(text) == pieces


SPACED = st.lists(
    st.sampled_from(["'s", "'", " ", "  ", "\n", "\r", "\u2003", "a", "é1", "12", "!", "\u0301", "_", "日", "\x1c"])
).map("".join)


@pytest.mark.parametrize("pattern", [*PATTERNS, WORDS])
@settings(deadline=None, max_examples=300)
@given(SPACED | st.text())
def test_where_a_text_can_be_cut_no_piece_reaches_across(pattern: str, text: str) -> None:
    split = splitter(pattern)
    for expression in _ENDS:
        for found in _pinned(expression).finditer(text):
            assert split(text[: found.end()]) + split(text[found.end() :]) == split(text)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("a line\nanother\n\nand one\nmore. or so", "a line\nanother\n\nand one\n"),
        ("no line, words", "no line,"[:2]),
        ("日本語1 \u3000 2!", "日本語1"),
        ("a\n" + "b" * 9000, "a\n"),
        ("a\n" + "b" * 90_000, "a\n"),
        ("onlyoneword", "onlyoneword"),
        ("! ? !", "! ? !"),
        ("", ""),
    ],
)
def test_a_text_is_cut_at_the_last_such_place(text: str, before: str) -> None:
    assert text[: place_to_cut(text)] == before


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None, max_examples=300)
@given(ASCII)
def test_the_faster_pattern_for_ascii_cuts_alike(pattern: str, text: str) -> None:
    assert _ascii_pattern(pattern).findall(text) == _pattern(pattern).findall(text)


def test_the_tables_are_unicode_14s() -> None:
    # Counted in the Unicode Character Database 14.0.0: DerivedGeneralCategory.txt and PropList.txt.
    def size(ranges: tuple[tuple[int, int], ...]) -> int:
        return sum(last - first + 1 for first, last in ranges)

    assert (size(LETTERS), size(NUMBERS), size(WHITE_SPACE)) == (131_756, 1_791, 25)
    for ranges in (LETTERS, NUMBERS, WHITE_SPACE):
        assert all(first <= last < after for (first, last), (after, _) in pairwise(ranges))
    letters = {c for first, last in LETTERS for c in range(first, last + 1)}
    assert 0x1DF00 in letters  # new in Unicode 14
    assert 0x1E4D0 not in letters  # new in Unicode 15
