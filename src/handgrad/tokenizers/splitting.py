"""How a text is cut into the pieces that byte-pair merges stay within: the patterns of GPT-2 and GPT-4, or none.

Every piece is a part of the text, and together they are all of it. Characters are told apart by the tables pinned in
``unicode_classes``, so that the standard library's ``re`` and any version of ``regex`` cut alike.
"""

import re
from collections.abc import Callable
from functools import cache

from handgrad.system.errors import InputError
from handgrad.tokenizers.unicode_classes import LETTERS, NUMBERS, WHITE_SPACE, Ranges

Splitter = Callable[[str], list[str]]

_ASCII = {"L": "A-Za-z", "N": "0-9", "S": r"\t-\r "}

# In these, L, N and S in angle brackets stand for what a character class holds of letters, numbers and white space.
PATTERNS = {
    # Radford et al. 2019: contractions; words, numbers and other signs, each with a space before it; white space, of
    # which the last is left to what follows.
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?[<L>]+| ?[<N>]+| ?[^<S><L><N>]+|[<S>]+(?![^<S>])|[<S>]+",
    # cl100k_base: contractions in either case (ſ is an s there too), at most three digits, new lines apart.
    "gpt4": r"'(?:[sSſdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n<L><N>]?[<L>]+|[<N>]{1,3}"
    r"| ?[^<S><L><N>]+[\r\n]*|[<S>]*[\r\n]+|[<S>]+(?![^<S>])|[<S>]+",
}
NAMES = (*PATTERNS, "none")
"""The patterns that byte-pair encoding can cut with."""
WORDS = "words"
"""Words of letters, digits and underscores; runs of white space; every other character by itself."""
_EXPRESSIONS = PATTERNS | {WORDS: r"[<L><N>_]+|[<S>]+|[^<L><N><S>_]"}
# Where no piece of GPT-2's and GPT-4's patterns, and no word, reaches across: after a new line between two characters
# that are no white space, and before white space that follows a letter or a number.
_ENDS = (r"[^<S>]\n(?=[^<S>])", r"[<L><N>](?=[<S>])")
# How much of a text's end is searched for one of these: seldom more than the first.
_SEARCHED = (1 << 12, 1 << 16)


def check_pattern(name: str) -> None:
    """Raises InputError for a name that is no pattern of byte-pair encoding."""
    if name not in NAMES:
        raise InputError(f"pattern must be {', '.join(NAMES[:-1])} or {NAMES[-1]}, not {name!r}")


@cache
def splitter(name: str) -> Splitter:
    """The function that cuts a text by a pattern: gpt2, gpt4, words, or none, which leaves it whole."""
    if name == "none":
        return lambda text: [text] if text else []

    def split(text: str) -> list[str]:
        return (_ascii_pattern(name) if text.isascii() else _pattern(name)).findall(text)

    return split


def place_to_cut(text: str) -> int:
    """The last place where a text can be cut so that both parts are cut into pieces as the whole is.

    Its end, where it has neither a line nor white space after a letter or a number. With the pattern "none" no place is
    such.
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
    """The same for texts of ASCII alone, for which it is faster."""
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
    """What stands between the brackets of a character class."""
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
