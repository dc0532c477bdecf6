"""The fixed binary tree along which the sums of shards are added, whoever computes them.

    sum of [lo, hi) = sum of [lo, mid) + sum of [mid, hi),    mid = lo + ⌈(hi - lo) / 2⌉

A node is the sum of neighbouring shards, and its place, ``Span``, says which. Whoever computes a part of the shards, a
thread or a process, adds up the nodes that lie wholly inside the part: ``roots_of`` names the largest of them. The
others need sums of several parts: ``additions`` gives them in order. A part may be divided again, into parts of its
own. The bits of the whole sum are always the same, as each node adds the same two numbers.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """The shards from ``first`` on, before ``stop``."""

    first: int
    stop: int

    @property
    def size(self) -> int:
        """How many shards it has."""
        return self.stop - self.first

    @property
    def halves(self) -> tuple["Span", "Span"]:
        """The two nodes below a node of more than one shard."""
        middle = self.first + (self.size + 1) // 2
        return Span(self.first, middle), Span(middle, self.stop)


def parts_of(span: Span, count: int) -> list[Span]:
    """So many parts of shards that follow one another, nearly equal: the first ones may have one shard more."""
    each, more = divmod(span.size, count)
    starts = [span.first + each * number + min(number, more) for number in range(count + 1)]
    return [Span(first, stop) for first, stop in pairwise(starts)]


def roots_of(shards: int, part: Span) -> list[Span]:
    """The nodes of the tree over so many shards that together are the part: as few as possible, in order."""
    return list(_roots(Span(0, shards), part))


def _roots(node: Span, part: Span) -> Iterator[Span]:
    if node.stop <= part.first or part.stop <= node.first:
        return
    if part.first <= node.first and node.stop <= part.stop:
        yield node
        return
    for half in node.halves:
        yield from _roots(half, part)


def additions(shards: int, part: Span, given: Iterable[Span]) -> list[tuple[int, int]]:
    """How the sums of the ``given`` nodes become those of ``roots_of`` a part: pairs of first shards, in order.

    A pair (a, b) says: add the sum that begins with shard b to the one that begins with shard a, which from then on is
    the sum of both. ``given`` are the roots of parts into which the part is divided.
    """
    known = frozenset(given)
    found: list[tuple[int, int]] = []

    def add_up(node: Span) -> None:
        if node in known:
            return
        left, right = node.halves
        add_up(left)
        add_up(right)
        found.append((left.first, right.first))

    for root in roots_of(shards, part):
        add_up(root)
    return found


def ends_of(shards: int, part: Span) -> list[int]:
    """For each shard of a part, how many nodes end with it, so that they can be added up as soon as it is computed.

    Each of these additions adds the newest sum that is kept to the one before it. In the end the sums of ``roots_of``
    the part are kept, in order.
    """
    counts = dict.fromkeys(range(*part), 0)
    for root in roots_of(shards, part):
        for node in _nodes(root):
            counts[node.stop - 1] += node.size > 1
    return list(counts.values())


def _nodes(node: Span) -> Iterator[Span]:
    yield node
    if node.size > 1:
        for half in node.halves:
            yield from _nodes(half)


def sums_at_once(shards: int, part: Span) -> int:
    """How many sums are kept at the same time, at most, by whoever adds up a part in this way."""
    return max((before + _kept_for(root.size) for before, root in enumerate(roots_of(shards, part))), default=0)


@cache
def _kept_for(size: int) -> int:
    """The same for a node of so many shards: while the second half is computed, the sum of the first is kept."""
    return 1 if size == 1 else max(_kept_for((size + 1) // 2), 1 + _kept_for(size // 2))
