"""Batches of a data set, as Tensors, in epochs or without end."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from handgrad.autograd import Tensor, default_generator
from handgrad.system.arrays import Array


class Dataset(Protocol):
    """Anything with a length and an item for each index: an array, a number, a tuple, list or dictionary of these."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class TensorDataset:
    """Item i is row i of each array.

    Raises ValueError if their lengths differ.
    """

    def __init__(self, *arrays: Any) -> None:
        self.arrays = [np.asarray(array) for array in arrays]
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) != 1:
            raise ValueError(f"TensorDataset: arrays must be of one length, not of {', '.join(map(str, lengths))}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        return tuple(array[index] for array in self.arrays)


class TokenDataset:
    """Every window of ``block_size`` tokens of a text, with the tokens that follow: item i is (x, y), and y begins one
    token after x.

    Raises ValueError if the text is too short for one window.
    """

    def __init__(self, ids: Sequence[int] | Array, block_size: int) -> None:
        self.ids = np.asarray(ids)
        self.block_size = block_size = operator.index(block_size)
        if len(self) < 1:
            raise ValueError(
                f"TokenDataset: {len(self.ids)} tokens are too few for a window of {block_size} and the token after it"
            )

    def __len__(self) -> int:
        return len(self.ids) - self.block_size

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"TokenDataset: there is no window {index}, there are {len(self)}")
        window = self.ids[index : index + self.block_size + 1].astype(np.int64)
        return window[:-1], window[1:]


class DataLoader:
    """Batches of ``batch_size`` items, stacked into Tensors: one for each part of an item.

    Iterating gives one epoch: every item once, in order, or with ``shuffle`` in a new random order for each epoch.
    ``forever()`` gives one epoch after another. ``drop_last`` drops the last batch if it is smaller. ``seed`` fixes
    the order of every epoch; without one, the loader draws a seed when it is made, so that ``manual_seed`` repeats
    the order.

    Raises ValueError for a batch_size below 1, or if ``drop_last`` leaves no batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
    ) -> None:
        batch_size = operator.index(batch_size)
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, not {batch_size}")
        if drop_last and len(dataset) < batch_size:
            raise ValueError(
                f"DataLoader: {len(dataset)} items do not fill a batch of {batch_size}, and drop_last is set"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = int(default_generator().integers(2**63)) if seed is None else operator.index(seed)
        self.epoch = 0
        """The number of the epoch that the next iteration gives."""

    def __len__(self) -> int:
        """How many batches an epoch has."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._batches(epoch)

    def forever(self) -> Iterator[Any]:
        """Batches of one epoch after another."""
        if len(self) == 0:
            raise ValueError("DataLoader: the data set is empty")
        while True:
            yield from self

    def _batches(self, epoch: int) -> Iterator[Any]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            items = [self.dataset[int(i)] for i in order[start : start + self.batch_size]]
            yield _stacked(items)


def _stacked(items: list[Any]) -> Any:
    """Items as one batch: a Tensor for arrays and numbers; tuples, lists and dictionaries are stacked part by part."""
    first = items[0]
    if isinstance(first, dict):
        return {key: _stacked([item[key] for item in items]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(_stacked(list(parts)) for parts in zip(*items, strict=True))
    if isinstance(first, Tensor):
        return Tensor(np.stack([item.data for item in items]))
    return Tensor(np.stack(items) if isinstance(first, np.ndarray | np.generic) else items)
