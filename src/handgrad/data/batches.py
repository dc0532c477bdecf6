"""Windows of tokens, and for each token the next one."""

from collections.abc import Callable, Iterator

import numpy as np

from handgrad.system.arrays import Array

Batch = tuple[Array, Array]
"""(x, y), both int64 (B, T): y is x shifted by one token."""

IGNORED = -100
"""A target that does not count, as it is padding or another window predicts it: ``ignore_index`` of cross entropy."""


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
    batch = windows_at(tokens, starts, block_size)
    check(starts, block_size + 1)
    return batch


def sequential_batches(tokens: Array, batch_size: int, block_size: int, stride: int | None = None) -> Iterator[Batch]:
    """All tokens in order: windows of block_size tokens that begin every ``stride`` tokens. A last, shorter window is a
    batch of its own.

    Every token but the first is predicted exactly once, in the earliest window that reaches it, where most tokens
    stand before it: all targets of the first window count, and of each later one those that the windows before it do
    not reach. The other targets are ``IGNORED``. By default the stride is block_size, and no windows overlap.

    ``stride`` must lie in 1 … block_size.
    """
    stride = block_size if stride is None else stride
    n_predicted = len(tokens) - 1
    n_full = max(0, (n_predicted - block_size) // stride + 1)
    for first in range(0, n_full, batch_size):
        starts = np.arange(first, min(first + batch_size, n_full)) * stride
        yield _ignoring_repeated(windows_at(tokens, starts, block_size), starts, block_size, stride)
    reached = (n_full - 1) * stride + block_size if n_full else 0
    if reached < n_predicted:
        starts = np.array([n_full * stride])
        yield _ignoring_repeated(windows_at(tokens, starts, n_predicted - n_full * stride), starts, block_size, stride)


def _ignoring_repeated(batch: Batch, starts: Array, block_size: int, stride: int) -> Batch:
    """The batch without the targets that windows before it predict; these are first in a row."""
    x, y = batch
    y[starts > 0, : block_size - stride] = IGNORED
    return x, y


def windows_at(tokens: Array, starts: Array, length: int) -> Batch:
    """(x, y): the windows of ``length`` tokens that begin at ``starts``, and the tokens that follow."""
    # Kernels take contiguous int64, so nothing has to convert or copy the ids later.
    windows = tokens[starts[:, None] + np.arange(length + 1)]
    return windows[:, :-1].astype(np.int64, order="C"), windows[:, 1:].astype(np.int64, order="C")
