"""Batches in which no document is joined to another: each row is one document, or a part of one, and padding."""

from collections.abc import Callable, Iterator

import numpy as np

from handgrad.data.batches import IGNORED, Batch
from handgrad.system.arrays import Array


class DocumentWindows:
    """The documents in ``tokens``, which the token ``end`` separates, cut into windows of at most block_size tokens.

    A document d_1 … d_n is the sequence end, d_1, …, d_n, end, so that a model learns how documents begin and how they
    end: n + 1 tokens are predicted, each from those before it in the same document. Positions begin at 0 in each row.
    Rows that are shorter than the longest of their batch are padded, with targets ``IGNORED``.
    """

    def __init__(self, tokens: Array, end: int, block_size: int) -> None:
        self.tokens, self.end, self.block_size = tokens, end, block_size
        ends = np.flatnonzero(tokens == end)
        starts = np.concatenate([[0], ends + 1]).astype(np.int64)
        lengths = np.concatenate([ends, [len(tokens)]]).astype(np.int64) - starts
        self.starts, self.lengths = starts[lengths > 0], lengths[lengths > 0]
        self.up_to = self._windows_up_to(block_size)
        """The windows of each document and of those before it, if no windows overlap."""

    @property
    def n_windows(self) -> int:
        """How many windows hold every target once."""
        return int(self.up_to[-1]) if len(self.up_to) else 0

    @property
    def n_targets(self) -> int:
        """How many tokens are predicted: those of the documents, and the end of each."""
        return int(self.lengths.sum()) + len(self.lengths)

    def random_batch(
        self,
        batch_size: int,
        rng: np.random.Generator,
        check: Callable[[Array, int], None] = lambda starts, length: None,
    ) -> Batch:
        """A batch of ``batch_size`` windows, (x, y) as ``random_batch`` gives them.

        A document is drawn in proportion to its number of windows. A document with several begins anywhere. ``check``
        is called with the starts and the length of parts of ``tokens`` that contain the windows, once they are copied.
        Raises ValueError if there is no document.
        """
        if not self.n_windows:
            raise ValueError("random_batch: there is no document")
        chosen = np.searchsorted(self.up_to, rng.integers(0, self.n_windows, size=batch_size), side="right")
        room = np.maximum(self.lengths[chosen] + 1 - self.block_size, 0)
        offsets = (rng.random(batch_size) * (room + 1)).astype(np.int64)
        return self._checked_batch(chosen, offsets, check)

    def batch_of(self, numbers: Array, check: Callable[[Array, int], None] = lambda starts, length: None) -> Batch:
        """The windows of these numbers, 0 … n_windows - 1 in the order of the text, of which no two overlap.

        ``check`` is called as by ``random_batch``.
        """
        chosen, offsets = self._places_of(numbers, self.up_to, self.block_size)
        return self._checked_batch(chosen, offsets, check)

    def sequential_batches(self, batch_size: int, stride: int | None = None) -> Iterator[Batch]:
        """All windows in order, so that every target is predicted exactly once.

        In each document they begin every ``stride`` tokens, in 1 … block_size and block_size by default. A token is
        predicted in the earliest window that reaches it; where a window repeats it, its target is ``IGNORED``.
        """
        stride = self.block_size if stride is None else stride
        up_to = self._windows_up_to(stride)
        n_windows = int(up_to[-1]) if len(up_to) else 0
        for first in range(0, n_windows, batch_size):
            number = np.arange(first, min(first + batch_size, n_windows))
            chosen, offsets = self._places_of(number, up_to, stride)
            x, y = self._batch(chosen, offsets)
            y[offsets > 0, : self.block_size - stride] = IGNORED
            yield x, y

    def _windows_up_to(self, stride: int) -> Array:
        """The windows of each document and of those before it, if they begin every ``stride`` tokens."""
        # A document of n tokens has n + 1 targets. The first window holds block_size of them, each other one adds some.
        after_the_first = np.maximum(self.lengths + 1 - self.block_size, 0)
        return np.cumsum(1 + -(-after_the_first // stride))

    def _places_of(self, numbers: Array, up_to: Array, stride: int) -> tuple[Array, Array]:
        """The document of each window, and where the window begins in it."""
        chosen = np.searchsorted(up_to, numbers, side="right")
        before = np.where(chosen > 0, up_to[chosen - 1], 0)
        return chosen, (numbers - before) * stride

    def _checked_batch(self, documents: Array, offsets: Array, check: Callable[[Array, int], None]) -> Batch:
        batch = self._batch(documents, offsets)
        length = min(self.block_size + 1, len(self.tokens))
        check(np.minimum(self.starts[documents] + np.maximum(offsets - 1, 0), len(self.tokens) - length), length)
        return batch

    def _batch(self, documents: Array, offsets: Array) -> Batch:
        lengths = self.lengths[documents]
        longest = int(np.minimum(lengths + 1 - offsets, self.block_size).max())
        # The place of each token in end, d_1, …, d_n, end.
        places = offsets[:, None] + np.arange(longest + 1)
        inside = (places >= 1) & (places <= lengths[:, None])
        at = np.where(inside, self.starts[documents][:, None] + places - 1, 0)
        rows = np.where(inside, self.tokens[at], self.end).astype(np.int64)
        x, y = rows[:, :-1].copy(), rows[:, 1:].copy()
        y[places[:, 1:] > lengths[:, None] + 1] = IGNORED
        return x, y
