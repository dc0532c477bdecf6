"""Learns the merges of byte-pair encoding (Gage 1994; Sennrich et al. 2016; on bytes: Radford et al. 2019).

A piece of text is a sequence of parts, at first its bytes. The most frequent pair of neighbours in the whole text
becomes a new part everywhere. This repeats until there are enough parts.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from handgrad.tokenizers.bpe.merging import TokenPair, merged

Merge = tuple[bytes, bytes]


def learn_merges(pieces: Iterable[tuple[bytes, int]], parts: Sequence[bytes], size: int) -> list[Merge]:
    """The merges, in order, as pairs of bytes, until there are ``size`` parts. Ends early if no pair occurs twice.

    ``pieces``: each piece and its count in the text. ``parts``: the bytes, in the order of their numbers. A merge makes
    a part with the next number. The part is always new: the same bytes between the same part boundaries were always
    merged in the same way. Between equally frequent pairs the one with the lower numbers comes first, so that the
    result depends only on the text.

    Each merge updates the counts of only the pieces that hold its pair. A heap yields the most frequent pair. An entry
    with an outdated count goes back with the current one.
    """
    parts = list(parts)
    number_of = {part: number for number, part in enumerate(parts)}
    words: list[list[int]] = []
    weights: list[int] = []
    for piece, count in pieces:
        words.append([number_of[piece[i : i + 1]] for i in range(len(piece))])
        weights.append(count)
    counts: Counter[TokenPair] = Counter()
    places: dict[TokenPair, array[int]] = {}
    for index, (word, weight) in enumerate(zip(words, weights, strict=True)):
        for pair in pairwise(word):
            counts[pair] += weight
            places.setdefault(pair, array("I")).append(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges: list[Merge] = []
    while heap and len(parts) < size:
        count, pair = heapq.heappop(heap)
        if -count != counts[pair]:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
            continue
        if -count < 2:
            break
        merges.append((parts[pair[0]], parts[pair[1]]))
        made = len(parts)
        parts.append(parts[pair[0]] + parts[pair[1]])
        grown: set[TokenPair] = set()
        for index in dict.fromkeys(places.pop(pair)):
            old, weight = words[index], weights[index]
            new = merged(old, pair, made)
            for neighbours in pairwise(old):
                counts[neighbours] -= weight
            for neighbours in pairwise(new):
                counts[neighbours] += weight
                if made in neighbours:
                    places.setdefault(neighbours, array("I")).append(index)
                    grown.add(neighbours)
            words[index] = new
        for neighbours in grown:
            heapq.heappush(heap, (-counts[neighbours], neighbours))
        del counts[pair]
    return merges
