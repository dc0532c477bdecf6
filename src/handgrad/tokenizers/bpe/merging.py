"""Applies byte-pair merges. A piece of text is a sequence of parts, at first its bytes; merges join neighbours."""

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise

TokenPair = tuple[int, int]


def merged(parts: Sequence[int], pair: TokenPair, made: int) -> list[int]:
    """The parts with each ``pair`` replaced by ``made``, from left to right."""
    left, right = pair
    new: list[int] = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and parts[i] == left and parts[i + 1] == right:
            new.append(made)
            i += 2
        else:
            new.append(parts[i])
            i += 1
    return new


def merge_all(parts: Sequence[int], made_of: Mapping[TokenPair, int], rank_of: Mapping[TokenPair, int]) -> list[int]:
    """The parts after all possible merges. Of the merges that apply, the one learned first is made first.

    A heap of candidates over a doubly linked list takes n log n steps for a piece of n parts.
    """
    after = [*range(1, len(parts)), -1]
    before = [-1, *range(len(parts) - 1)]
    parts = list(parts)
    heap = [(rank_of[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in rank_of]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = after[i]
        # A queued candidate may have been merged away, or may have another neighbour now.
        if parts[i] < 0 or j < 0 or rank_of.get((parts[i], parts[j])) != rank:
            continue
        parts[i], parts[j] = made_of[parts[i], parts[j]], -1
        after[i] = after[j]
        if after[i] >= 0:
            before[after[i]] = i
            if (candidate := rank_of.get((parts[i], parts[after[i]]))) is not None:
                heapq.heappush(heap, (candidate, i))
        if before[i] >= 0 and (candidate := rank_of.get((parts[before[i]], parts[i]))) is not None:
            heapq.heappush(heap, (candidate, before[i]))
    return [part for part in parts if part >= 0]
