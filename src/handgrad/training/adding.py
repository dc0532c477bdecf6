"""Adds up gradients piece by piece, in the order that the tree of ``shard_tree`` gives."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np

from handgrad import ops
from handgrad.backend import function_for
from handgrad.system.arrays import Array


def adder(sums: Mapping[int, Array], additions: Sequence[tuple[int, int]], whole: Array) -> Callable[[slice], float]:
    """A function that adds up one piece of the ``sums`` in place, and returns Σ whole² of the piece.

    ``sums`` are flat arrays by their first shards, ``additions`` what ``shard_tree.additions`` gives for them; the last
    one is to the ``whole``. Threads may call the function for different pieces at the same time.
    """
    add = function_for(ops.add_gradients, *sums.values())
    # Additions to the same sum are one call. Without any, a call with no others squares the gradient.
    calls = [
        (sums[target], [sums[added] for _, added in pairs])
        for target, pairs in groupby(additions, key=lambda pair: pair[0])
    ] or [(whole, [])]

    def add_piece(piece: slice) -> float:
        squares = 0.0
        # No warnings on the way: the norm is checked for NaN and infinity.
        with np.errstate(over="ignore", invalid="ignore"):
            for target, others in calls:
                squares = add(target[piece], [other[piece] for other in others])
        return squares

    return add_piece
