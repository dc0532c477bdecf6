"""Cuts texts into pieces, on UTF-8, without regular expressions."""

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled
from handgrad.tokenizers.splitting import NAMES, WORDS
from handgrad.tokenizers.unicode_classes import LETTERS, NUMBERS, WHITE_SPACE

PATTERN_NUMBERS = {name: number for number, name in enumerate((*NAMES, WORDS))}
_GPT2, _GPT4 = PATTERN_NUMBERS["gpt2"], PATTERN_NUMBERS["gpt4"]
_NONE, _WORDS = PATTERN_NUMBERS["none"], PATTERN_NUMBERS[WORDS]
_OTHER, _LETTER, _NUMBER, _SPACE = range(4)
_BLOCK = 128


def _class_tables() -> tuple[Array, Array]:
    """A two-step lookup of classes, as many blocks of 128 code points are equal: (block numbers, classes in blocks)."""
    classes = np.full(0x110000, _OTHER, np.uint8)
    for ranges, kind in ((LETTERS, _LETTER), (NUMBERS, _NUMBER), (WHITE_SPACE, _SPACE)):
        for first, last in ranges:
            classes[first : last + 1] = kind
    rows: dict[bytes, int] = {}
    which = [rows.setdefault(block.tobytes(), len(rows)) for block in classes.reshape(-1, _BLOCK)]
    return np.array(which, np.uint8), np.frombuffer(b"".join(rows), np.uint8)


_BLOCK_OF, _CLASS_IN = _class_tables()


@compiled
def _class_at(text: Array, i: int) -> tuple[int, int]:
    """(class, bytes) of the character that begins at i."""
    first = text[i]
    if first < 0x80:
        return _CLASS_IN[_BLOCK_OF[0] * _BLOCK + first], 1
    if first < 0xE0:
        code, width = (first & 0x1F) << 6 | (text[i + 1] & 0x3F), 2
    elif first < 0xF0:
        code, width = (first & 0x0F) << 12 | (text[i + 1] & 0x3F) << 6 | (text[i + 2] & 0x3F), 3
    else:
        high = (first & 0x07) << 18 | (text[i + 1] & 0x3F) << 12
        code, width = high | (text[i + 2] & 0x3F) << 6 | (text[i + 3] & 0x3F), 4
    return _CLASS_IN[_BLOCK_OF[code // _BLOCK] * _BLOCK + code % _BLOCK], width


@compiled
def _run_end(text: Array, i: int, end: int, kind: int) -> int:
    """The end of a run of characters of class ``kind`` that continues at i."""
    while i < end:
        found, width = _class_at(text, i)
        if found != kind:
            break
        i += width
    return i


@compiled
def _contraction_end(text: Array, i: int, end: int, any_case: bool) -> int:
    """Where 's, 't, 're, 've, 'm, 'll or 'd that begins at i ends; i if there is none."""
    if i + 1 >= end or text[i] != 0x27:
        return i
    case = 0x20 if any_case else 0
    a = text[i + 1] | case
    if a == 0x73 or a == 0x74 or a == 0x6D or a == 0x64:
        return i + 2
    if i + 2 < end:
        b = text[i + 2] | case
        if (a == 0x6C and b == 0x6C) or (a == 0x76 and b == 0x65) or (a == 0x72 and b == 0x65):
            return i + 3
        if any_case and text[i + 1] == 0xC5 and text[i + 2] == 0xBF:  # ſ
            return i + 3
    return i


@compiled
def _white_space_end(text: Array, i: int, end: int, after_new_line: bool) -> int:
    """Where a piece of white space that begins at i ends: before its last character, which goes to the next piece.

    ``after_new_line``: if it contains a new line, the piece ends after the last one instead.
    """
    last, new_line, j = i, i, i
    while j < end:
        kind, width = _class_at(text, j)
        if kind != _SPACE:
            break
        last = j
        if text[j] == 0x0A or text[j] == 0x0D:
            new_line = j + 1
        j += width
    if after_new_line and new_line > i:
        return new_line
    return j if j == end or last == i else last


@compiled
def _gpt2_end(text: Array, i: int, end: int) -> int:
    contraction = _contraction_end(text, i, end, False)
    if contraction > i:
        return contraction
    kind, width = _class_at(text, i)
    if kind == _SPACE:
        if text[i] == 0x20 and i + 1 < end:
            following, width = _class_at(text, i + 1)
            if following != _SPACE:
                return _run_end(text, i + 1 + width, end, following)
        return _white_space_end(text, i, end, False)
    return _run_end(text, i + width, end, kind)


@compiled
def _gpt4_end(text: Array, i: int, end: int) -> int:
    contraction = _contraction_end(text, i, end, True)
    if contraction > i:
        return contraction
    kind, width = _class_at(text, i)
    if kind == _LETTER:
        return _run_end(text, i + width, end, _LETTER)
    following, following_width = _OTHER, 0
    if i + width < end:
        following, following_width = _class_at(text, i + width)
    if kind == _NUMBER:
        for _ in range(2):
            if following_width == 0 or following != _NUMBER:
                break
            i += width
            width, following_width = following_width, 0
            if i + width < end:
                following, following_width = _class_at(text, i + width)
        return i + width
    new_line = text[i] == 0x0A or text[i] == 0x0D
    if following_width > 0 and following == _LETTER and not new_line:
        return _run_end(text, i + width + following_width, end, _LETTER)
    if kind == _OTHER or (text[i] == 0x20 and following_width > 0 and following == _OTHER):
        j = _run_end(text, i + width, end, _OTHER)
        while j < end and (text[j] == 0x0A or text[j] == 0x0D):
            j += 1
        return j
    return _white_space_end(text, i, end, True)


@compiled
def word_end(text: Array, i: int, end: int) -> int:
    kind, width = _class_at(text, i)
    if kind == _SPACE:
        return _run_end(text, i + width, end, _SPACE)
    if kind == _OTHER and text[i] != 0x5F:
        return i + width
    while i < end:
        kind, width = _class_at(text, i)
        if kind not in (_LETTER, _NUMBER) and text[i] != 0x5F:
            break
        i += width
    return i


@compiled
def piece_end(text: Array, i: int, end: int, pattern: int) -> int:
    """Where the piece that begins at i ends, in a text that ends at ``end``; ``splitting`` defines it by patterns."""
    if pattern == _GPT2:
        return _gpt2_end(text, i, end)
    if pattern == _GPT4:
        return _gpt4_end(text, i, end)
    if pattern == _WORDS:
        return word_end(text, i, end)
    return end


@compiled
def split_pieces(text: Array, pattern: int) -> Array:
    """Where each piece of a text ends, int64 (pieces,)."""
    ends = np.empty(len(text), np.int64)
    count, i = 0, 0
    while i < len(text):
        i = piece_end(text, i, len(text), pattern)
        ends[count] = i
        count += 1
    return ends[:count].copy()
