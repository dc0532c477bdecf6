"""What training keeps of a text: how often each piece stands in it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

# So many different pieces are kept. With their merges they take less than 300 MB, whatever the length of the text.
MOST_PIECES = 1 << 19
_CHARACTERS_AT_A_TIME = 1 << 22


class PieceCounts(Counter[str]):
    """How often each piece stands in a text that may be larger than memory.

    Where there are more than ``MOST_PIECES`` different ones, the rarest so far are forgotten, as in lossy counting
    (Manku & Motwani 2002): what is often in the whole text is kept, at most a few short of its true count.
    """

    def add(self, more: Mapping[str, int]) -> None:
        """Adds the counts of a next part of the text."""
        self.update(more)
        least = 1
        while len(self) > MOST_PIECES:
            least += 1
            for piece in [piece for piece, count in self.items() if count < least]:
                del self[piece]


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in their order, some millions of characters at a time."""
    batch: list[str] = []
    length = 0
    for text in texts:
        batch.append(text)
        length += len(text)
        if length >= _CHARACTERS_AT_A_TIME:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch
