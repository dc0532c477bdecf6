"""Windows of tokens, and for each token the next one."""

from collections.abc import Callable, Iterator

import numpy as np

from handgrad.system.arrays import Array

Batch = tuple[Array, Array]
"""(x, y), both int64 (B, T): y is x shifted by one token."""

IGNORED = -100
"""A target that does not count, because it is padding: ``ignore_index`` of the cross entropy."""


def n_targets(y: Array) -> int:
    """How many targets count."""
    return int(np.count_nonzero(y != IGNORED))


def random_batch(
    tokens: Array,
    batch_size: int,
    block_size: int,
    rng: np.random.Generator,
    check: Callable[[Array, int], None] = lambda starts, length: None,
) -> Batch:
    """batch_size windows of block_size tokens. Every start is equally likely; windows may overlap.

    ``check`` is called with the starts and the length of the windows once they are copied.

    Raises ValueError for fewer than block_size + 1 tokens.
    """
    if len(tokens) <= block_size:
        raise ValueError(f"random_batch: {len(tokens)} tokens, too few for a window of {block_size} and its next token")
    starts = rng.integers(0, len(tokens) - block_size, size=batch_size)
    batch = _windows(tokens, starts, block_size)
    check(starts, block_size + 1)
    return batch


def sequential_batches(tokens: Array, batch_size: int, block_size: int) -> Iterator[Batch]:
    """All tokens once, in windows that do not overlap. A last, shorter window is a batch of its own.

    Every token but the first is predicted exactly once.
    """
    n_full = max(0, (len(tokens) - 1) // block_size)
    for first in range(0, n_full, batch_size):
        starts = np.arange(first, min(first + batch_size, n_full)) * block_size
        yield _windows(tokens, starts, block_size)
    rest = len(tokens) - 1 - n_full * block_size
    if rest > 0:
        yield _windows(tokens, np.array([n_full * block_size]), rest)


def _windows(tokens: Array, starts: Array, length: int) -> Batch:
    # Kernels take contiguous int64, so nothing has to convert or copy the ids later.
    windows = tokens[starts[:, None] + np.arange(length + 1)]
    return windows[:, :-1].astype(np.int64, order="C"), windows[:, 1:].astype(np.int64, order="C")
