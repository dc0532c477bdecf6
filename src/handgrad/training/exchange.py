"""The sum of the shards' gradients across processes: each process adds up its own part of the flat gradient.

Each process has computed the sums of its shards, nodes of the tree of ``shard_tree`` over the whole gradient. It sends
to each other process that one's part of them, and adds up what it receives for its own part, along the same tree. So
every number is the sum of the same numbers in the same order as in a single process.
"""

import math

import numpy as np

from handgrad.models import LanguageModel
from handgrad.system.arrays import Array
from handgrad.system.threads import Team
from handgrad.training.adding import adder
from handgrad.training.division import Division
from handgrad.training.shard_tree import Span, additions, parts_of, roots_of


class Exchange:
    """Adds up gradients and losses of all processes.

    ``piece``: the norm is the sum over pieces of so many elements. To count whole pieces, a process receives its part
    up to the end of the last piece that begins in it.
    """

    def __init__(self, model: LanguageModel, division: Division, shards: int, piece: int) -> None:
        self.division, self.processes, self.piece = division, division.processes, piece
        whole = Span(0, shards)
        parts = parts_of(whole, self.processes.size)
        self.part = parts[self.processes.rank]
        """The shards of this process."""
        self._gradient, size = model.arena.grad, model.arena.grad.size
        self._roots = [[root.first for root in roots_of(shards, part)] for part in parts]
        self._additions = additions(shards, whole, [root for part in parts for root in roots_of(shards, part)])
        self._wanted = [_widened(span, piece, size) for span in division.spans]
        self._own = self._wanted[self.processes.rank]
        length = self._own.stop - self._own.start
        self._received = {
            first: np.empty(length, self._gradient.dtype)
            for rank, roots in enumerate(self._roots)
            for first in roots
            if rank != self.processes.rank
        }

    def add_up(self, losses: dict[int, float], gradients: dict[int, Array], team: Team) -> tuple[float, float]:
        """The loss and the norm of the gradient. This process's part of the gradient replaces that of the model.

        ``losses`` and ``gradients`` are the sums of this process's shards, by their first shard. Gradients change.
        """
        processes = self.processes
        told = processes.gathered((losses, processes.asked, processes.waited), waits=True)
        losses = {first: loss for each, *_ in told for first, loss in each.items()}
        processes.ending = any(asked for _, asked, _ in told)
        processes.waited_by_all = [waited for *_, waited in told]
        for target, added in self._additions:
            losses[target] += losses[added]
        self._send(gradients)
        own = {first: gradient[self._own] for first, gradient in gradients.items()}
        is_there = gradients.get(0) is self._gradient
        squares = self._add_own_part(own | self._received, team, is_there)
        return losses[0], math.sqrt(math.fsum(each for some in processes.gathered(squares) for each in some))

    def _send(self, gradients: dict[int, Array]) -> None:
        rank = self.processes.rank
        sent = [
            (gradients[first][wanted], other)
            for other, wanted in enumerate(self._wanted)
            for first in self._roots[rank]
            if other != rank and wanted.stop > wanted.start
        ]
        received = [
            (self._received[first], other)
            for other, roots in enumerate(self._roots)
            for first in roots
            if other != rank and self._own.stop > self._own.start
        ]
        self.processes.exchange(sent, received)

    def _add_own_part(self, sums: dict[int, Array], team: Team, is_there: bool) -> list[float]:
        """Adds up the sums; returns the squares of each piece that begins in this process's part.

        ``is_there``: whether the whole sum comes to lie in the model's gradient by itself.
        """
        whole, begin = sums[0], self._own.start
        add_up = adder(sums, self._additions, whole)
        gradient = self._gradient[self._own]

        def add_piece(place: slice) -> float:
            inside = slice(place.start - begin, place.stop - begin)
            squares = add_up(inside)
            if not is_there:
                gradient[inside] = whole[inside]
            return squares

        places = _cut(self._own, self.piece)
        squares = team.map(add_piece, places)
        # What comes before the first whole piece is counted by the process in whose part that piece begins.
        return [each for place, each in zip(places, squares, strict=True) if place.start % self.piece == 0]


def numbers_received(shards: int, processes: int, size: int) -> int:
    """About how many numbers process 0 receives in a step, for a gradient of this size; it keeps them all at once."""
    _, *others = parts_of(Span(0, shards), processes)
    return sum(len(roots_of(shards, part)) for part in others) * size // processes


def _widened(span: slice, piece: int, size: int) -> slice:
    if span.start == span.stop:
        return span
    return slice(span.start, min(-(-span.stop // piece) * piece, size))


def _cut(span: slice, piece: int) -> list[slice]:
    """The span, cut wherever a piece begins."""
    places, start = [], span.start
    while start < span.stop:
        stop = min((start // piece + 1) * piece, span.stop)
        places.append(slice(start, stop))
        start = stop
    return places
