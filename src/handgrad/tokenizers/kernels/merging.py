"""Applies byte-pair merges to texts, as ``bpe.merging`` does, on arrays and with a cache of pieces."""

import heapq
from typing import Any

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled
from handgrad.tokenizers.kernels.splitting import piece_end

# The pairs that merge are in a hash table of (left << 32 | right, rank << 32 | made), int64 (slots, 2); empty slots
# hold -1. A cache of pieces is uint64 (slots, 8), one cache line per slot: 16 bytes of a piece, its numbers of bytes
# and ids, and up to 8 ids. A piece can be in one slot only, and replaces what was there.
_CACHED_BYTES, _CACHED_IDS, _CACHE_SLOTS = 16, 8, 1 << 16
_NO_PAIR = np.int64(1) << 62
# Longer pieces are merged with a heap, which takes n log n steps; searching all pairs takes n².
_LONG = 64


def new_cache() -> Array:
    """An empty cache. Only one caller at a time may use it."""
    return np.zeros((_CACHE_SLOTS, 8), np.uint64)


def pair_table(left: Array, right: Array, rank: Array, made: Array) -> Array:
    """The hash table of pairs that merge, from four arrays of numbers below 2³¹, (pairs,)."""
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
    """rank << 32 | made of two neighbours, or _NO_PAIR. The lowest value merges first."""
    key = np.int64(left) << 32 | np.int64(right)
    slot = _slot(key, len(pairs))
    while pairs[slot, 0] >= 0:
        if pairs[slot, 0] == key:
            return pairs[slot, 1]
        slot = (slot + 1) & (len(pairs) - 1)
    return _NO_PAIR


@compiled
def _merge_short(ids: Array, count: int, merges: Array, pairs: Array) -> int:
    """Makes all merges in ids[:count], in place; returns how many ids remain. ``merges`` is scratch space."""
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
    """The same with a heap of candidates, rank << 32 | position, over a doubly linked list."""
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
    """The ids of a text, int32 (n,). ``id_of_byte``: int32 (256,); bytes with -1 have no id and are skipped."""
    ids = np.empty(len(text), np.int32)
    merges = np.empty(_LONG, np.int64)
    written: Any = 0
    i = 0
    while i < len(text):
        end = piece_end(text, i, len(text), pattern)
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
