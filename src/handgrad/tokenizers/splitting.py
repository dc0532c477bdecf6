"""Cuts a text into pieces, which byte-pair merges do not cross: the patterns of GPT-2 and GPT-4, or none.

The pieces, joined, are the text. The tables in ``unicode_classes`` define letters, numbers and white space, so the
result does not depend on the Unicode version of Python's ``re``.
"""

import re
from collections.abc import Callable
from functools import cache

from handgrad.system.errors import InputError
from handgrad.tokenizers.unicode_classes import LETTERS, NUMBERS, WHITE_SPACE, Ranges

Splitter = Callable[[str], list[str]]

_ASCII = {"L": "A-Za-z", "N": "0-9", "S": r"\t-\r "}

# <L>, <N> and <S> stand for the letters, numbers and white space in a character class.
PATTERNS = {
    # Radford et al. 2019: contractions; words, numbers and other signs, each with a space before it; white space
    # without its last character, which goes to the next piece.
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?[<L>]+| ?[<N>]+| ?[^<S><L><N>]+|[<S>]+(?![^<S>])|[<S>]+",
    # cl100k_base: contractions in either case (ſ counts as s), at most three digits, new lines in pieces of their own.
    "gpt4": r"'(?:[sSſdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n<L><N>]?[<L>]+|[<N>]{1,3}"
    r"| ?[^<S><L><N>]+[\r\n]*|[<S>]*[\r\n]+|[<S>]+(?![^<S>])|[<S>]+",
}
NAMES = (*PATTERNS, "none")
"""The patterns that byte-pair encoding can cut with."""
WORDS = "words"
"""Words of letters, digits and underscores; runs of white space; every other character by itself."""
_EXPRESSIONS = PATTERNS | {WORDS: r"[<L><N>_]+|[<S>]+|[^<L><N><S>_]"}
# Places that no word and no piece of GPT-2's and GPT-4's patterns crosses: after a new line between two characters that
# are not white space, and before white space that follows a letter or a number.
_ENDS = (r"[^<S>]\n(?=[^<S>])", r"[<L><N>](?=[<S>])")
# How many characters at a text's end to search for such a place; the first number nearly always suffices.
_SEARCHED = (1 << 12, 1 << 16)


def check_pattern(name: str) -> None:
    """Raises InputError if the name is not a pattern of byte-pair encoding."""
    if name not in NAMES:
        raise InputError(f"pattern must be {', '.join(NAMES[:-1])} or {NAMES[-1]}, not {name!r}")


@cache
def splitter(name: str) -> Splitter:
    """The function that cuts a text by a pattern: gpt2, gpt4, words, or none, which does not cut."""
    if name == "none":
        return lambda text: [text] if text else []

    def split(text: str) -> list[str]:
        return (_ascii_pattern(name) if text.isascii() else _pattern(name)).findall(text)

    return split


def place_to_cut(text: str) -> int:
    """The last place where cutting the text in two does not change its pieces.

    The end of the text if it has no new line and no white space after a letter or a number. With the pattern "none"
    no place has this property.
    """
    for expression in _ENDS:
        pattern = _pinned(expression)
        for searched in (*_SEARCHED, len(text)):
            place = 0
            for found in pattern.finditer(text, max(0, len(text) - searched)):
                place = found.end()
            if place:
                return place
    return len(text)


@cache
def _ascii_pattern(name: str) -> re.Pattern[str]:
    """The pattern for texts that are pure ASCII; it is faster."""
    return _compiled(_EXPRESSIONS[name], _ASCII)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return _pinned(_EXPRESSIONS[name])


@cache
def _pinned(expression: str) -> re.Pattern[str]:
    return _compiled(expression, {"L": _class(LETTERS), "N": _class(NUMBERS), "S": _class(WHITE_SPACE)})


def _compiled(expression: str, classes: dict[str, str]) -> re.Pattern[str]:
    return re.compile(re.sub(r"<([LNS])>", lambda found: classes[found[1]], expression))


def _class(ranges: Ranges) -> str:
    """The content of a character class, between its brackets."""
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
