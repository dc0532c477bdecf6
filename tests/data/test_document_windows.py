"""Batches in which no document is joined to another."""

import numpy as np
import pytest

from handgrad.data import IGNORED, DocumentWindows, n_targets

END = 3
# ab, c, defgh, i
TOKENS = np.array([10, 11, END, 12, END, 13, 14, 15, 16, 17, END, 18], np.uint16)
DOCUMENTS = [[10, 11], [12], [13, 14, 15, 16, 17], [18]]


def unpadded(batch: tuple[np.ndarray, np.ndarray]) -> list[tuple[list[int], list[int]]]:
    """Each row's inputs and targets, without padding, which is at the end."""
    rows = []
    for x, y in zip(*batch, strict=True):
        length = int((y != IGNORED).sum())
        assert (y[length:] == IGNORED).all()
        rows.append((x[:length].tolist(), y[:length].tolist()))
    return rows


def test_every_document_begins_after_an_end_and_is_predicted_with_its_end() -> None:
    windows = DocumentWindows(TOKENS, END, 8)
    assert (windows.n_windows, windows.n_targets) == (4, 13)
    (batch,) = windows.sequential_batches(9)
    assert batch[0].shape == batch[1].shape == (4, 6)  # as long as the longest, not as block_size
    assert [one.dtype for one in batch] == [np.int64, np.int64]
    assert unpadded(batch) == [([END, *document], [*document, END]) for document in DOCUMENTS]
    assert batch[0].max() < 19  # padding is a token of the vocabulary
    assert batch[0].min() >= 0


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 6, 20])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_every_token_and_every_end_is_predicted_once(block_size: int, batch_size: int) -> None:
    windows = DocumentWindows(TOKENS, END, block_size)
    rows = [row for batch in windows.sequential_batches(batch_size) for row in unpadded(batch)]
    assert len(rows) == windows.n_windows
    assert [y for _, targets in rows for y in targets] == [t for document in DOCUMENTS for t in (*document, END)]
    assert sum(n_targets(y) for _, y in windows.sequential_batches(batch_size)) == windows.n_targets == 13
    for x, y in rows:
        assert len(x) == len(y) <= block_size
        assert x[1:] == y[:-1]
        assert END not in x[1:]  # nothing comes after an end


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 6, 20])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_with_a_stride_each_document_slides_by_itself(block_size: int, batch_size: int) -> None:
    """Every target with the tokens that it is predicted from: the longest stretch that a window of its own gives."""
    windows = DocumentWindows(TOKENS, END, block_size)
    for stride in range(1, block_size + 1):
        expected = []
        for document in DOCUMENTS:
            text = [END, *document, END]
            for place in range(1, len(text)):
                begins = [start for start in range(0, place, stride) if place - start <= block_size]
                expected.append((text[min(begins) : place], text[place]))
        found = [
            (x[row, : place + 1].tolist(), y[row, place])
            for x, y in windows.sequential_batches(batch_size, stride)
            for row, place in np.argwhere(y != IGNORED)
        ]
        assert found == expected
        assert len(found) == windows.n_targets


def test_random_windows_are_parts_of_one_document_each() -> None:
    windows = DocumentWindows(TOKENS, END, 3)
    rng = np.random.default_rng(0)
    seen = {tuple(y) for _ in range(200) for _, y in unpadded(windows.random_batch(4, rng))}
    inside = {(13, 14, 15), (14, 15, 16), (15, 16, 17), (16, 17, END)}  # a long document begins anywhere
    assert seen == {(10, 11, END), (12, END), (18, END)} | inside
    first, again = (windows.random_batch(5, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_documents_are_drawn_in_proportion_to_their_windows() -> None:
    windows = DocumentWindows(TOKENS, END, 3)  # the long one has two windows, the others one
    _, y = windows.random_batch(20_000, np.random.default_rng(1))
    share = np.isin(y, [13, 14, 15, 16, 17]).any(axis=1).mean()
    assert share == pytest.approx(2 / 5, abs=0.02)


def test_empty_documents_are_none() -> None:
    windows = DocumentWindows(np.array([END, END, 5, END]), END, 4)
    assert (windows.n_windows, windows.n_targets) == (1, 2)
    empty = DocumentWindows(np.array([END]), END, 4)
    assert list(empty.sequential_batches(2)) == []
    with pytest.raises(ValueError, match=r"^random_batch: there is no document$"):
        empty.random_batch(1, np.random.default_rng(0))


def test_without_padding_all_targets_count() -> None:
    assert n_targets(np.array([[1, 2], [3, 0]])) == 4
