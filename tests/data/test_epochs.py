"""Batches in epochs: every window once before any comes a second time, by the seed and the number of the batch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.data import DocumentWindows, Epochs, n_targets

END = 99


@settings(deadline=None)
@given(st.integers(2, 200), st.integers(1, 12), st.integers(1, 7))
def test_no_token_is_predicted_twice_in_an_epoch(length: int, block_size: int, batch_size: int) -> None:
    tokens = np.arange(length)
    if length <= block_size:
        with pytest.raises(ValueError, match="no window of"):
            Epochs(tokens, block_size, (1,))
        return
    epochs = Epochs(tokens, block_size, (1,))
    n_windows = epochs.n_windows
    batches = [epochs.batch(number, batch_size) for number in range(-(-3 * n_windows // batch_size))]
    rows = np.concatenate([y for _, y in batches])[: 3 * n_windows]
    for epoch in range(3):
        predicted = np.sort(rows[epoch * n_windows : (epoch + 1) * n_windows].ravel())
        # A stretch of the text without gaps; at most two windows of it are missing.
        assert all(later - earlier == 1 for earlier, later in pairwise(predicted.tolist()))
        assert len(predicted) >= length - 1 - 2 * block_size
        assert 1 <= predicted[0] <= predicted[-1] < length
    for x, y in batches:
        assert x.shape == y.shape == (batch_size, block_size)
        assert x.dtype == y.dtype == np.int64
        np.testing.assert_array_equal(y, x + 1)


def test_every_place_is_reached_and_no_epoch_is_like_another() -> None:
    """The windows are cut at other places, so that the first and the last tokens are not missing every time."""
    tokens = np.arange(50)
    epochs = Epochs(tokens, 8, (3,))
    each = [
        np.concatenate([epochs.batch(epochs.n_windows * e + i, 1)[1][0] for i in range(epochs.n_windows)])
        for e in range(60)
    ]
    assert set(np.concatenate(each).tolist()) == set(range(1, 50))
    assert len({tuple(rows.tolist()) for rows in each}) == len(each)
    assert len({rows.min() for rows in each}) == 10  # every cut occurs: 5 windows of 8 leave 9 tokens around them


def test_a_batch_depends_on_the_seed_and_its_number_alone() -> None:
    tokens = np.arange(500)
    in_order, alone = Epochs(tokens, 8, (1, 3)), Epochs(tokens, 8, (1, 3))
    batches = [in_order.batch(number, 5) for number in range(40)]
    for number in (39, 0, 25, 12):
        np.testing.assert_array_equal(alone.batch(number, 5)[0], batches[number][0])
    assert not np.array_equal(Epochs(tokens, 8, (2, 3)).batch(0, 5)[0], batches[0][0])


def test_what_is_checked_are_the_windows_that_were_copied() -> None:
    tokens, seen = np.arange(100), []
    x, _ = Epochs(tokens, 8, (1,)).batch(2, 5, lambda starts, length: seen.append((starts, length)))
    ((starts, length),) = seen
    assert starts.tolist() == x[:, 0].tolist()
    assert length == 9


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 5))
def test_documents_are_shown_whole_in_each_epoch(lengths: list[int], block_size: int, batch_size: int) -> None:
    numbers = iter(range(100, 1000))
    documents = [[next(numbers) for _ in range(length)] for length in lengths]
    tokens = np.array([token for document in documents for token in (*document, END)][:-1], np.int64)
    windows = DocumentWindows(tokens, END, block_size)
    if not windows.n_windows:
        with pytest.raises(ValueError, match="no window of"):
            Epochs(windows, block_size, (1,))
        return
    epochs = Epochs(windows, block_size, (1,))
    targets: list[int] = []
    for number in range(2 * windows.n_windows):
        _, y = epochs.batch(number, 1)
        targets += y[y != -100].tolist()
    once = sorted(token for document in documents if document for token in (*document, END))
    half = len(targets) // 2
    assert sorted(targets[:half]) == sorted(targets[half:]) == once
    checked: list[int] = []
    epochs.batch(0, batch_size, lambda starts, length: checked.extend(starts.tolist()))
    assert len(checked) == batch_size
    assert n_targets(epochs.batch(0, batch_size)[1]) >= batch_size
