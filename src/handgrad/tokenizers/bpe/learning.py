"""Learns the merges of byte-pair encoding (Gage 1994; Sennrich et al. 2016; on bytes: Radford et al. 2019).

A piece of text is a sequence of parts, at first its bytes. The most frequent pair of neighbours in the whole text
becomes a new part everywhere. This repeats until there are enough parts.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from handgrad.tokenizers.bpe.merging import TokenPair

Merge = tuple[bytes, bytes]

_EDGE, _GONE = -1, -2
"""What is around each piece, and what was merged into the part before it."""


def learn_merges(pieces: Iterable[tuple[bytes, int]], parts: Sequence[bytes], size: int) -> list[Merge]:
    """The merges, in order, as pairs of bytes, until there are ``size`` parts. Ends early if no pair occurs twice.

    ``pieces``: each piece and its count in the text. ``parts``: the bytes, in the order of their numbers. A merge makes
    a part with the next number. The part is always new: the same bytes between the same part boundaries were always
    merged in the same way. Between equally frequent pairs the one with the lower numbers comes first, so that the
    result depends only on the text.

    All pieces lie in one array of parts. Each part knows the one after it and the one before it in its piece, so the
    time that a merge takes depends on its places alone, however long their pieces are. A heap yields the most frequent
    pair. An entry with an outdated count goes back with the current one.
    """
    parts = list(parts)
    text = _LaidOut(pieces, parts)
    counts: Counter[TokenPair] = Counter()
    places: dict[TokenPair, array[int]] = {}
    for pair, place, weight in text.pairs():
        counts[pair] += weight
        places.setdefault(pair, array("I")).append(place)
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
        grown = text.merge(pair, made, places.pop(pair), counts, places)
        for neighbours in grown:
            heapq.heappush(heap, (-counts[neighbours], neighbours))
        del counts[pair]
    return merges


class _LaidOut:
    """The parts of all pieces, one after the other, as linked lists with an edge around each piece."""

    def __init__(self, pieces: Iterable[tuple[bytes, int]], parts: Sequence[bytes]) -> None:
        number_of_byte = {part[0]: number for number, part in enumerate(parts)}
        self.numbers, self.piece_at, self.weights = array("i", [_EDGE]), array("I", [0]), array("q")
        for piece, count in pieces:
            self.numbers.extend([number_of_byte[byte] for byte in piece])
            self.numbers.append(_EDGE)
            self.piece_at.extend([len(self.weights)] * (len(piece) + 1))
            self.weights.append(count)
        self.after = array("I", range(1, len(self.numbers) + 1))
        self.before = array("I", [0, *range(len(self.numbers) - 1)])

    def pairs(self) -> Iterator[tuple[TokenPair, int, int]]:
        """Each pair of neighbours, its place, and how often its piece occurs."""
        for place, (left, right) in enumerate(pairwise(self.numbers)):
            if left != _EDGE and right != _EDGE:
                yield (left, right), place, self.weights[self.piece_at[place]]

    def merge(
        self,
        pair: TokenPair,
        made: int,
        at: Iterable[int],
        counts: Counter[TokenPair],
        places: dict[TokenPair, "array[int]"],
    ) -> set[TokenPair]:
        """Merges a pair wherever it still is, from left to right. Returns the pairs that become more frequent."""
        numbers, before, after, weights, piece_at = self.numbers, self.before, self.after, self.weights, self.piece_at
        left, right = pair
        grown: set[TokenPair] = set()
        for i in sorted(at):
            j = after[i]
            if numbers[i] != left or numbers[j] != right:
                continue  # the place is outdated, or, as in aaa, overlaps with the last one
            weight, h, k = weights[piece_at[i]], before[i], after[j]
            counts[pair] -= weight
            if (number := numbers[h]) != _EDGE:
                counts[number, left] -= weight
                new = (number, made)
                counts[new] += weight
                places.setdefault(new, array("I")).append(h)
                grown.add(new)
            if (number := numbers[k]) != _EDGE:
                counts[right, number] -= weight
                new = (made, number)
                counts[new] += weight
                places.setdefault(new, array("I")).append(i)
                grown.add(new)
            numbers[i], numbers[j] = made, _GONE
            after[i], before[k] = k, i
        return grown
