"""Encodes texts word by word."""

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled
from handgrad.tokenizers.kernels.hashing import equal, hash_of
from handgrad.tokenizers.kernels.splitting import word_end


@compiled
def word_table(words: Array, ends: Array) -> Array:
    """The hash table that finds a word by its bytes, int32 (slots,). ``words`` are concatenated and end at ``ends``."""
    size = 16
    while size < 2 * len(ends):
        size *= 2
    slots = np.full(size, -1, np.int32)
    start = 0
    for word in range(len(ends)):
        slot = np.int64(hash_of(words, start, ends[word]) & np.uint64(size - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = word
        start = ends[word]
    return slots


@compiled
def encode_words(
    text: Array, words: Array, ends: Array, slots: Array, first: int, first_byte: int, unknown: int
) -> Array:
    """The ids of a text in words, int32 (n,): ``first`` + the word's number. An unknown word becomes ``unknown``, or,
    if ``first_byte`` is not negative, its bytes, whose ids start there."""
    ids = np.empty(len(text), np.int32)
    written, i = 0, 0
    while i < len(text):
        end = word_end(text, i, len(text))
        slot = np.int64(hash_of(text, i, end) & np.uint64(len(slots) - 1))
        found = slots[slot]
        while found >= 0:
            start = ends[found - 1] if found > 0 else 0
            if ends[found] - start == end - i and equal(words[start:], text[i:], end - i):
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
