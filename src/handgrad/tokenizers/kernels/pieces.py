"""Texts cut into pieces, pieces counted, pieces encoded; on UTF-8, without a regular expression."""

import heapq
from typing import Any

import numpy as np

from handgrad.arrays import Array
from handgrad.compiled import compiled
from handgrad.tokenizers.splitting import NAMES, WORDS
from handgrad.tokenizers.unicode_classes import LETTERS, NUMBERS, WHITE_SPACE

PATTERN_NUMBERS = {name: number for number, name in enumerate((*NAMES, WORDS))}
_GPT2, _GPT4 = PATTERN_NUMBERS["gpt2"], PATTERN_NUMBERS["gpt4"]
_NONE, _WORDS = PATTERN_NUMBERS["none"], PATTERN_NUMBERS[WORDS]
_OTHER, _LETTER, _NUMBER, _SPACE = range(4)
_BLOCK = 128


def _class_tables() -> tuple[Array, Array]:
    """Classes of code points in two steps, as most blocks of 128 are equal: (which block, class of each in it)."""
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
    """Where the run of one class that goes on at i ends."""
    while i < end:
        found, width = _class_at(text, i)
        if found != kind:
            break
        i += width
    return i


@compiled
def _contraction_end(text: Array, i: int, end: int, any_case: bool) -> int:
    """Where 's, 't, 're, 've, 'm, 'll or 'd that begins at i ends; i where there is none."""
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
    """Where a piece of white space that begins at i ends: the last character is left to what follows.

    ``after_new_line``: rather after the last new line in it, where there is one.
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
def _words_end(text: Array, i: int, end: int) -> int:
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
def _piece_end(text: Array, i: int, end: int, pattern: int) -> int:
    """Where the piece that begins at i ends, in a text that ends at ``end``: what ``splitting`` says with patterns."""
    if pattern == _GPT2:
        return _gpt2_end(text, i, end)
    if pattern == _GPT4:
        return _gpt4_end(text, i, end)
    if pattern == _WORDS:
        return _words_end(text, i, end)
    return end


@compiled
def split_pieces(text: Array, pattern: int) -> Array:
    """Where each piece of a text ends, int64 (pieces,)."""
    ends = np.empty(len(text), np.int64)
    count, i = 0, 0
    while i < len(text):
        i = _piece_end(text, i, len(text), pattern)
        ends[count] = i
        count += 1
    return ends[:count].copy()


@compiled
def _hash(text: Array, start: int, end: int) -> Any:
    """FNV-1a, and a last step that brings its high bits down."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
    return value ^ (value >> np.uint64(29))


@compiled
def _equal(a: Array, b: Array, length: int) -> bool:
    for i in range(length):  # noqa: SIM110 - a generator would be slower, compiled
        if a[i] != b[i]:
            return False
    return True


@compiled
def count_pieces(text: Array, ends: Array, pattern: int) -> tuple[Array, Array, Array]:
    """The different pieces of texts that lie one after another and end at ``ends``, int64.

    Three arrays, int64 (pieces,): where each stands first, its bytes, how often it stands.
    """
    slots = np.full(1 << 12, -1, np.int32)
    room = 1 << 11
    starts, lengths, counts = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    hashes = np.empty(room, np.uint64)
    count, i = 0, 0
    for text_end in ends:
        while i < text_end:
            piece_end = _piece_end(text, i, text_end, pattern)
            value, length = _hash(text, i, piece_end), piece_end - i
            slot = np.int64(value & np.uint64(len(slots) - 1))
            while True:
                known = slots[slot]
                if known < 0:
                    break
                if (
                    hashes[known] == value
                    and lengths[known] == length
                    and _equal(text[starts[known] :], text[i:], length)
                ):
                    break
                slot = (slot + 1) & (len(slots) - 1)
            if known >= 0:
                counts[known] += 1
            else:
                slots[slot] = count
                starts[count], lengths[count], counts[count], hashes[count] = i, length, 1, value
                count += 1
            if count == room:  # the table is half full
                room *= 2
                starts, lengths, counts = _longer(starts), _longer(lengths), _longer(counts)
                hashes = _longer(hashes)
                slots = np.full(2 * room, -1, np.int32)
                for piece in range(count):
                    slot = np.int64(hashes[piece] & np.uint64(len(slots) - 1))
                    while slots[slot] >= 0:
                        slot = (slot + 1) & (len(slots) - 1)
                    slots[slot] = piece
            i = piece_end
    return starts[:count].copy(), lengths[:count].copy(), counts[:count].copy()


@compiled
def word_table(words: Array, ends: Array) -> Array:
    """The hash table that finds a word by its bytes, int32 (slots,). Words lie one after another, ending at ends."""
    size = 16
    while size < 2 * len(ends):
        size *= 2
    slots = np.full(size, -1, np.int32)
    start = 0
    for word in range(len(ends)):
        slot = np.int64(_hash(words, start, ends[word]) & np.uint64(size - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = word
        start = ends[word]
    return slots


@compiled
def encode_words(
    text: Array, words: Array, ends: Array, slots: Array, first: int, first_byte: int, unknown: int
) -> Array:
    """The ids of a text in words, int32 (n,): ``first`` + the word's number. What is not among them is ``unknown``, or
    its bytes from ``first_byte`` on where that is not negative."""
    ids = np.empty(len(text), np.int32)
    written, i = 0, 0
    while i < len(text):
        end = _words_end(text, i, len(text))
        slot = np.int64(_hash(text, i, end) & np.uint64(len(slots) - 1))
        found = slots[slot]
        while found >= 0:
            start = ends[found - 1] if found > 0 else 0
            if ends[found] - start == end - i and _equal(words[start:], text[i:], end - i):
                break
            slot = (slot + 1) & (len(slots) - 1)
            found = slots[slot]
        if found >= 0 or first_byte < 0:
            ids[written] = first + found if found >= 0 else unknown
            written += 1
        else:
            for k in range(i, end):
                ids[written] = first_byte + text[k]
                written += 1
        i = end
    return ids[:written].copy()


@compiled
def _longer(array: Array) -> Array:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


# The pairs that merge lie in a table of (left << 32 | right, rank << 32 | made), int64 (slots, 2); -1 where none is.
# A cache of pieces is uint64 (slots, 8), a cache line each: 16 bytes of a piece, how many bytes and ids it has, and up
# to 8 ids. Each piece has one slot, and takes it from whatever was there.
_CACHED_BYTES, _CACHED_IDS, _CACHE_SLOTS = 16, 8, 1 << 16
_NO_PAIR = np.int64(1) << 62
# From so many bytes on a piece is merged with a heap, which takes n log n where looking through all pairs takes n².
_LONG = 64


def new_cache() -> Array:
    """A cache that remembers nothing yet. It belongs to one caller at a time."""
    return np.zeros((_CACHE_SLOTS, 8), np.uint64)


def pair_table(left: Array, right: Array, rank: Array, made: Array) -> Array:
    """The table of pairs that merge, from four arrays of numbers below 2³¹, (pairs,)."""
    size = 1 << max(4, 2 * len(left) - 1).bit_length()
    return _pair_table(left << 32 | right, rank << 32 | made, size)


@compiled
def _pair_table(keys: Array, values: Array, size: int) -> Array:
    table = np.full((size, 2), -1, np.int64)
    for i in range(len(keys)):
        slot = _slot(keys[i], size)
        while table[slot, 0] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot, 0], table[slot, 1] = keys[i], values[i]
    return table


@compiled
def _slot(key: int, size: int) -> Any:
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


@compiled
def _merge_of(left: int, right: int, pairs: Array) -> Any:
    """rank << 32 | made of two neighbours, or _NO_PAIR: what is merged first is least."""
    key = np.int64(left) << 32 | np.int64(right)
    slot = _slot(key, len(pairs))
    while pairs[slot, 0] >= 0:
        if pairs[slot, 0] == key:
            return pairs[slot, 1]
        slot = (slot + 1) & (len(pairs) - 1)
    return _NO_PAIR


@compiled
def _merge_short(ids: Array, count: int, merges: Array, pairs: Array) -> int:
    """Makes all merges in ids[:count], in place; returns how many ids are left. ``merges`` is scratch as long."""
    for i in range(count - 1):
        merges[i] = _merge_of(ids[i], ids[i + 1], pairs)
    while count > 1:
        best = 0
        for i in range(1, count - 1):
            if merges[i] < merges[best]:
                best = i
        if merges[best] == _NO_PAIR:
            break
        ids[best] = merges[best] & 0xFFFFFFFF
        count -= 1
        for i in range(best + 1, count):
            ids[i] = ids[i + 1]
            merges[i - 1] = merges[i]
        if best + 1 < count:
            merges[best] = _merge_of(ids[best], ids[best + 1], pairs)
        if best > 0:
            merges[best - 1] = _merge_of(ids[best - 1], ids[best], pairs)
    return count


@compiled
def _merge_long(ids: Array, count: int, pairs: Array) -> int:
    """The same with a heap of candidates, rank << 32 | position, over a list linked both ways: ``merges.merge_all``."""
    after, before = np.arange(1, count + 1), np.arange(-1, count - 1)
    heap = [np.int64(0) for _ in range(0)]
    for i in range(count - 1):
        merge = _merge_of(ids[i], ids[i + 1], pairs)
        if merge != _NO_PAIR:
            heap.append((merge >> 32) << 32 | i)
    heapq.heapify(heap)
    while len(heap) > 0:
        candidate = heapq.heappop(heap)
        rank, at = candidate >> 32, candidate & 0xFFFFFFFF
        j = after[at]
        if ids[at] < 0 or j >= count:
            continue
        merge = _merge_of(ids[at], ids[j], pairs)
        if merge == _NO_PAIR or merge >> 32 != rank:
            continue
        ids[at], ids[j] = merge & 0xFFFFFFFF, -1
        after[at] = after[j]
        if after[at] < count:
            before[after[at]] = at
            merge = _merge_of(ids[at], ids[after[at]], pairs)
            if merge != _NO_PAIR:
                heapq.heappush(heap, (merge >> 32) << 32 | at)
        if before[at] >= 0:
            merge = _merge_of(ids[before[at]], ids[at], pairs)
            if merge != _NO_PAIR:
                heapq.heappush(heap, (merge >> 32) << 32 | before[at])
    kept = 0
    for k in range(count):
        if ids[k] >= 0:
            ids[kept] = ids[k]
            kept += 1
    return kept


@compiled
def encode_pieces(text: Array, pattern: int, id_of_byte: Array, pairs: Array, cache: Array) -> Array:
    """The ids of a text, int32 (n,). ``id_of_byte``: int32 (256,), -1 for bytes that have none and are left out."""
    ids = np.empty(len(text), np.int32)
    merges = np.empty(_LONG, np.int64)
    written: Any = 0
    i = 0
    while i < len(text):
        end = _piece_end(text, i, len(text), pattern)
        length = end - i
        slot: Any = -1
        low, high = np.uint64(0), np.uint64(0)
        if length <= _CACHED_BYTES:
            for k in range(min(length, 8)):
                low |= np.uint64(text[i + k]) << np.uint64(8 * k)
            for k in range(8, length):
                high |= np.uint64(text[i + k]) << np.uint64(8 * (k - 8))
            mixed = (low ^ (high * np.uint64(0xC2B2AE3D27D4EB4F))) * np.uint64(0x9E3779B97F4A7C15)
            slot = np.int64((mixed >> np.uint64(40)) & np.uint64(_CACHE_SLOTS - 1))
            known = cache[slot, 2]
            if cache[slot, 0] == low and cache[slot, 1] == high and known & np.uint64(0xFF) == np.uint64(length):
                n_known = np.int64(known >> np.uint64(8))
                for k in range(n_known):
                    packed = cache[slot, 3 + k // 2]
                    ids[written + k] = np.int32((packed >> np.uint64(32 * (k % 2))) & np.uint64(0xFFFFFFFF))
                written += n_known
                i = end
                continue
        count = 0
        for k in range(i, end):
            if id_of_byte[text[k]] >= 0:
                ids[written + count] = id_of_byte[text[k]]
                count += 1
        if count <= _LONG:
            count = _merge_short(ids[written:], count, merges, pairs)
        else:
            count = _merge_long(ids[written:], count, pairs)
        if slot >= 0 and count <= _CACHED_IDS:
            cache[slot, 0], cache[slot, 1] = low, high
            cache[slot, 2] = np.uint64(length) | np.uint64(count) << np.uint64(8)
            for k in range(0, count, 2):
                packed = np.uint64(ids[written + k])
                if k + 1 < count:
                    packed |= np.uint64(ids[written + k + 1]) << np.uint64(32)
                cache[slot, 3 + k // 2] = packed
        written += count
        i = end
    return ids[:written].copy()
