"""What training keeps of a text: how often each piece stands in it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain

import numpy as np

from handgrad.arrays import Array
from handgrad.tokenizers.speed import kernels_for
from handgrad.tokenizers.splitting import splitter

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


def count_pieces(pattern: str, texts: Sequence[str]) -> Counter[str]:
    """How often each piece that a pattern cuts stands in these texts, of which each is cut by itself."""
    kernels = kernels_for(sum(map(len, texts)))
    if kernels is None:
        return Counter(chain.from_iterable(map(splitter(pattern), map(well_formed, texts))))
    content, ends = joined(texts)
    pieces = kernels.count_pieces(content, ends, kernels.PATTERN_NUMBERS[pattern])
    starts, lengths, counts = (numbers.tolist() for numbers in pieces)
    whole = content.tobytes()
    if whole.isascii():
        text = whole.decode()
        found = [text[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    else:
        found = [whole[start : start + length].decode() for start, length in zip(starts, lengths, strict=True)]
    return Counter(dict(zip(found, counts, strict=True)))


def joined(texts: Iterable[str]) -> tuple[Array, Array]:
    """Texts as kernels take them: (their UTF-8, one after another, uint8 (n,); where each ends, int64 (texts,))."""
    encoded = [utf8(text) for text in texts]
    ends = np.fromiter(accumulate(map(len, encoded)), np.int64, len(encoded))
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def utf8(text: str) -> bytes:
    """UTF-8; a lone surrogate, which has none, as the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def well_formed(text: str) -> str:
    """The text; lone surrogates, which UTF-8 cannot say, as the replacement character."""
    return text if text.isascii() else utf8(text).decode()
