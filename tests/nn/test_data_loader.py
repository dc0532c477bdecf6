"""Batches of a data set: every item once an epoch, the same order for one seed, integers as integers."""

from itertools import islice

import numpy as np
import pytest

from handgrad import Tensor, manual_seed, nn


def test_windows_of_tokens_come_as_integer_tensors_with_what_follows() -> None:
    ids = np.arange(10, dtype=np.uint16)
    data = nn.TokenDataset(ids, block_size=4)
    assert len(data) == 6
    batches = list(nn.DataLoader(data, batch_size=4))
    assert [x.shape for x, _ in batches] == [(4, 4), (2, 4)]
    x, y = batches[1]
    assert isinstance(x, Tensor)
    assert x.dtype == y.dtype == "int64"
    assert x.tolist() == [[4, 5, 6, 7], [5, 6, 7, 8]]
    assert (y - x).data.min() == (y - x).data.max() == 1
    with pytest.raises(IndexError, match="there is no window 6, there are 6"):
        data[6]
    with pytest.raises(ValueError, match="4 tokens are too few for a window of 4 and the token after it"):
        nn.TokenDataset(ids[:4], 4)


def test_an_epoch_gives_every_item_once_in_an_order_of_its_own() -> None:
    loader = nn.DataLoader(range(10), batch_size=3, shuffle=True, seed=5)
    assert len(loader) == 4
    epochs = [[int(i) for batch in loader for i in batch.tolist()] for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = nn.DataLoader(range(10), batch_size=3, shuffle=True, seed=5)
    assert [[int(i) for batch in again for i in batch.tolist()] for _ in range(3)] == epochs
    assert [batch.tolist() for batch in nn.DataLoader(range(5), 2)] == [[0, 1], [2, 3], [4]]


def test_drop_last_leaves_out_the_smaller_batch() -> None:
    loader = nn.DataLoader(range(10), batch_size=3, drop_last=True)
    assert len(loader) == 3
    assert [len(batch) for batch in loader] == [3, 3, 3]


def test_forever_goes_on_from_epoch_to_epoch() -> None:
    loader = nn.DataLoader(range(4), batch_size=3, shuffle=True, seed=1)
    batches = [batch.tolist() for batch in islice(loader.forever(), 6)]
    assert [len(batch) for batch in batches] == [3, 1, 3, 1, 3, 1]
    assert sorted(batches[2] + batches[3]) == [0, 1, 2, 3]


def test_a_data_set_of_arrays() -> None:
    x, t = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32), np.arange(5)
    ((points, labels),) = nn.DataLoader(nn.TensorDataset(x, t), batch_size=5)
    np.testing.assert_array_equal(points.data, x)
    assert (points.dtype, labels.dtype) == ("float32", "int64")
    with pytest.raises(ValueError, match="arrays must be of one length, not of 5, 4"):
        nn.TensorDataset(x, t[:4])


def test_items_may_be_lists_dictionaries_and_numbers() -> None:
    items = [[np.ones(2, np.float32), 0.5], [np.zeros(2, np.float32), 1.5]]
    ((x, y),) = nn.DataLoader(items, batch_size=2)
    assert (x.shape, y.dtype, y.tolist()) == ((2, 2), "float32", [0.5, 1.5])
    (batch,) = nn.DataLoader([{"x": 1, "y": Tensor([2.0])}, {"x": 3, "y": Tensor([4.0])}], batch_size=2)
    assert (batch["x"].tolist(), batch["y"].tolist()) == ([1, 3], [[2.0], [4.0]])


def test_manual_seed_repeats_an_order_without_a_seed() -> None:
    def order() -> list[int]:
        manual_seed(3)
        return [int(i) for batch in nn.DataLoader(range(20), 4, shuffle=True) for i in batch.tolist()]

    assert order() == order()


def test_what_cannot_be_says_so() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        nn.DataLoader(range(3), batch_size=0)
    with pytest.raises(ValueError, match="3 items do not fill a batch of 4"):
        nn.DataLoader(range(3), batch_size=4, drop_last=True)
    with pytest.raises(ValueError, match="the data set is empty"):
        next(nn.DataLoader([], batch_size=1).forever())
