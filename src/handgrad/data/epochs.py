"""Batches in epochs: every window once, in an order drawn anew each time, before any comes a second time."""

from collections.abc import Callable, Sequence

import numpy as np

from handgrad.data.batches import Batch, windows_at
from handgrad.data.document_windows import DocumentWindows
from handgrad.system.arrays import Array

Check = Callable[[Array, int], None]


class Epochs:
    """The windows of a text, epoch after epoch. Which windows a batch has depends on the seed and its number alone.

    A text of ``tokens`` is cut into windows of block_size tokens that do not overlap; each epoch cuts at other places.
    ``DocumentWindows`` are those that hold every target once.

    Raises ValueError for fewer than block_size + 1 tokens, or if there is no document.
    """

    def __init__(self, windows: Array | DocumentWindows, block_size: int, seed: Sequence[int]) -> None:
        self.windows, self.block_size, self.seed = windows, block_size, tuple(seed)
        if isinstance(windows, DocumentWindows):
            self.n_windows, self._furthest = windows.n_windows, 0
        else:
            # One window less than there could be leaves room to cut anywhere.
            self.n_windows = max((len(windows) - block_size) // block_size, int(len(windows) > block_size))
            self._furthest = len(windows) - 1 - self.n_windows * block_size
        if not self.n_windows:
            raise ValueError(f"Epochs: the text has no window of {block_size} tokens and the next token")
        self._drawn: dict[int, tuple[int, Array]] = {}

    def batch(self, number: int, batch_size: int, check: Check = lambda starts, length: None) -> Batch:
        """The batch of this number, counted from 0: windows of (x, y) as ``random_batch`` gives them, from the place in
        the sequence of epochs where the batch before ends. ``check`` is called as by ``random_batch``.
        """
        epochs, places = np.divmod(np.arange(number * batch_size, (number + 1) * batch_size), self.n_windows)
        cuts, orders = zip(*(self._epoch(epoch) for epoch in epochs.tolist()), strict=True)
        numbers = np.array([order[place] for order, place in zip(orders, places.tolist(), strict=True)])
        if isinstance(self.windows, DocumentWindows):
            return self.windows.batch_of(numbers, check)
        starts = np.array(cuts) + numbers * self.block_size
        batch = windows_at(self.windows, starts, self.block_size)
        check(starts, self.block_size + 1)
        return batch

    def _epoch(self, epoch: int) -> tuple[int, Array]:
        """Where an epoch's first window begins, and the order of its windows."""
        if epoch not in self._drawn:
            rng = np.random.default_rng([*self.seed, epoch])
            self._drawn = {kept: drawn for kept, drawn in self._drawn.items() if kept == epoch - 1}
            self._drawn[epoch] = int(rng.integers(0, self._furthest + 1)), rng.permutation(self.n_windows)
        return self._drawn[epoch]
