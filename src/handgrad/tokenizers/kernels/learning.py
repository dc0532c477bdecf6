"""Learns merges from the counts of pieces, as ``bpe.learning.learn_merges`` does, on arrays."""

import heapq
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

# The symbols of all pieces lie in one array of int32, at first one symbol per byte, with _EDGE around each piece. The
# number of a part of n > 1 bytes is at its first byte; its second and its last byte hold -n, so that the next part and
# the one before are found in one step. All positions of merged-away parts are negative.
_EDGE = np.int32(-(1 << 31))


def learn_merges(pieces: Iterable[tuple[bytes, int]], parts: Sequence[bytes], size: int) -> list[tuple[bytes, bytes]]:
    """The merges, in order, until there are ``size`` parts; see ``bpe.learning.learn_merges``."""
    number_of_byte = np.zeros(256, np.int32)
    for number, part in enumerate(parts):
        number_of_byte[part[0]] = number
    text, lengths, counts = bytearray(), array("q"), array("q")
    for piece, count in pieces:
        text += piece
        lengths.append(len(piece))
        counts.append(count)
    laid_out = (np.frombuffer(text, np.uint8), np.frombuffer(lengths, np.int64), np.frombuffer(counts, np.int64))
    parts = list(parts)
    merges: list[tuple[bytes, bytes]] = []
    for left, right in _learn(*laid_out, number_of_byte, len(parts), size).tolist():
        merges.append((parts[left], parts[right]))
        parts.append(parts[left] + parts[right])
    return merges


@compiled
def _laid_out(text: Array, lengths: Array, number_of_byte: Array) -> tuple[Array, Array]:
    """(symbols, the piece of each symbol)."""
    symbols = np.full(len(text) + len(lengths) + 1, _EDGE, np.int32)
    piece_at = np.zeros(len(symbols), np.int32)
    place, start = 1, 0
    for piece in range(len(lengths)):
        for i in range(start, start + lengths[piece]):
            symbols[place] = number_of_byte[text[i]]
            piece_at[place] = piece
            place += 1
        start += lengths[piece]
        place += 1
    return symbols, piece_at


@compiled
def _next(symbols: Array, i: int) -> int:
    """The position of the part after the one at i; at the end of a piece, its edge."""
    beside = symbols[i + 1]
    return i - beside if beside < 0 and beside != _EDGE else i + 1


@compiled
def _before(symbols: Array, i: int) -> int:
    beside = symbols[i - 1]
    return i + beside if beside < 0 and beside != _EDGE else i - 1


# Pairs of neighbours, numbered in the order of discovery: (left << 32 | right, its count in the text, the newest of its
# places, the last merge that added a place), each (pairs,), and the hash table that finds a pair's number. The places
# of a pair are a linked list, which may hold outdated places until it is read.
Pairs = tuple[Array, Array, Array, Array, Array]


@compiled
def _slot_of(key: int, keys: Array, slots: Array) -> Any:
    """The slot of a pair in the hash table, or the free slot for it."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64((mixed >> np.uint64(32)) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@compiled
def _with_room(slots: Array, keys: Array, n_pairs: int, more: int) -> Array:
    """The hash table, or a larger one, such that it stays half empty after ``more`` new pairs."""
    if 2 * (n_pairs + more) <= len(slots):
        return slots
    size = len(slots)
    while 2 * (n_pairs + more) > size:
        size *= 2
    larger = np.full(size, -1, np.int32)
    for pair in range(n_pairs):
        larger[_slot_of(keys[pair], keys, larger)] = pair
    return larger


@compiled
def _add(
    left: int, right: int, place: int, weight: int, step: int, pairs: Pairs, places: Array, sizes: Array, touched: Array
) -> None:
    """Adds one place of a pair. ``sizes``: the numbers of pairs, of places, and of pairs touched in this step."""
    keys, counts, newest, steps, slots = pairs
    key = np.int64(left) << 32 | np.int64(right)
    slot = _slot_of(key, keys, slots)
    pair = slots[slot]
    if pair < 0:
        pair = np.int32(sizes[0])
        slots[slot] = pair
        keys[pair], counts[pair], newest[pair], steps[pair] = key, 0, -1, -1
        sizes[0] += 1
    counts[pair] += weight
    places[sizes[1], 0], places[sizes[1], 1] = place, newest[pair]
    newest[pair] = sizes[1]
    sizes[1] += 1
    if steps[pair] != step:
        steps[pair] = step
        touched[sizes[2]] = pair
        sizes[2] += 1


@compiled
def _take(left: int, right: int, weight: int, pairs: Pairs) -> None:
    """Subtracts one place of a pair."""
    keys, counts, _, _, slots = pairs
    counts[slots[_slot_of(np.int64(left) << 32 | np.int64(right), keys, slots)]] -= weight


@compiled
def _places_of(pair: int, key: int, newest: Array, places: Array, symbols: Array) -> Array:
    """The places where a pair still occurs, in the order of the text, so that in aaa the first two are merged."""
    found, count = np.empty(16, np.int32), 0
    place = newest[pair]
    while place >= 0:
        i = places[place, 0]
        if symbols[i] == key >> 32 and symbols[_next(symbols, i)] == key & 0xFFFFFFFF:
            if count == len(found):
                longer = np.empty(2 * count, np.int32)
                longer[:count] = found
                found = longer
            found[count] = i
            count += 1
        place = places[place, 1]
    return np.sort(found[:count])


@compiled
def _merge_at(
    i: int, made: int, step: int, weights: Array, piece_at: Array, symbols: Array, pairs: Pairs, places: Array,
    sizes: Array, touched: Array,
) -> None:  # fmt: skip
    """Merges the part at i with the next one, and updates the counts of the neighbouring pairs."""
    j = _next(symbols, i)
    before, after = _before(symbols, i), _next(symbols, j)
    left, right, weight = symbols[i], symbols[j], weights[piece_at[i]]
    _take(left, right, weight, pairs)
    if symbols[before] != _EDGE:
        _take(symbols[before], left, weight, pairs)
        _add(symbols[before], made, before, weight, step, pairs, places, sizes, touched)
    if symbols[after] != _EDGE:
        _take(right, symbols[after], weight, pairs)
        _add(made, symbols[after], i, weight, step, pairs, places, sizes, touched)
    symbols[i] = made
    symbols[i + 1] = symbols[j] = symbols[after - 1] = i - after


@compiled
def _learn(text: Array, lengths: Array, weights: Array, number_of_byte: Array, n_parts: int, size: int) -> Array:
    """The merges, int64 (merges, 2)."""
    symbols, piece_at = _laid_out(text, lengths, number_of_byte)
    # Each merge removes one symbol and makes at most two pairs. Memory that is never touched costs nothing.
    most = 3 * len(symbols) + 16
    keys, counts = np.empty(most, np.int64), np.empty(most, np.int64)
    newest, steps, touched = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    places, sizes = np.empty((most, 2), np.int32), np.zeros(3, np.int64)
    slots = _with_room(np.full(1 << 12, -1, np.int32), keys, 0, min(most, n_parts**2))
    pairs = (keys, counts, newest, steps, slots)
    for i in range(len(symbols) - 1):
        if symbols[i] != _EDGE and symbols[i + 1] != _EDGE:
            weight = weights[piece_at[i]]
            _add(symbols[i], symbols[i + 1], i, weight, -2, pairs, places, sizes, touched)
    heap = [(-counts[pair], keys[pair]) for pair in range(sizes[0])]
    heapq.heapify(heap)

    merges, n_merges = np.empty((max(0, size - n_parts), 2), np.int64), 0
    while len(heap) > 0 and n_merges < len(merges):
        negative, key = heapq.heappop(heap)
        pair = slots[_slot_of(key, keys, slots)]
        if -negative != counts[pair]:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], key))
            continue
        if counts[pair] < 2:
            break
        left, right, made = key >> 32, key & 0xFFFFFFFF, n_parts + n_merges
        merges[n_merges, 0], merges[n_merges, 1] = left, right
        n_merges += 1
        found = _places_of(pair, key, newest, places, symbols)
        newest[pair] = -1
        slots = _with_room(slots, keys, sizes[0], 2 * len(found))
        pairs = (keys, counts, newest, steps, slots)
        sizes[2] = 0
        for i in found:
            # If two places overlap, as in aaa, the second has been merged away.
            if symbols[i] == left and symbols[_next(symbols, i)] == right:
                _merge_at(i, made, n_merges, weights, piece_at, symbols, pairs, places, sizes, touched)
        for k in range(sizes[2]):
            heapq.heappush(heap, (-counts[touched[k]], keys[touched[k]]))
    return merges[:n_merges].copy()
