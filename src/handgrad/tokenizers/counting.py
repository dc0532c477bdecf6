"""What training keeps of a text: how often each piece stands in it."""

from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain

import numpy as np

from handgrad.system.arrays import Array
from handgrad.tokenizers.kernel_choice import kernels_for
from handgrad.tokenizers.splitting import splitter

# How much is kept of the pieces, which with their merges then takes less than 300 MB, whatever the text: a piece counts
# as so many bytes more than it has.
MOST_KEPT = 8_000_000
_BYTES_BESIDES = 8
_KEPT_AFTER_FORGETTING = 3 / 4
_CHARACTERS_AT_A_TIME = 1 << 22


class PieceCounts(Mapping[str, int]):
    """How often each piece stands in a text that may be larger than memory.

    Where there are too many different ones, those that can be the rarest are forgotten: lossy counting (Manku & Motwani
    2002), with a bound on memory instead of on the error. A piece that comes when others have been forgotten may be one
    of them, and may so have stood ``at_most_missed`` times before. Among those that are equally rare the oldest go.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._missed: dict[str, int] = {}  # how often a piece may have stood before it was counted, where not 0
        self._kept = 0
        self.at_most_missed = 0
        """No count is more than this short of the truth, and nothing that stands more often is left out."""

    def add(self, more: Mapping[str, int]) -> None:
        """Adds the counts of a next part of the text."""
        counts, missed = self._counts, self._missed
        for piece, count in more.items():
            if piece in counts:
                counts[piece] += count
            else:
                counts[piece] = count
                self._kept += _weight(piece)
                if self.at_most_missed:
                    missed[piece] = self.at_most_missed
        if self._kept > MOST_KEPT:
            self._forget()

    def _forget(self) -> None:
        pieces = list(self._counts)
        at_most = np.fromiter((self._counts[piece] + self._missed.get(piece, 0) for piece in pieces), np.int64)
        for place in np.argsort(at_most, kind="stable").tolist():
            if self._kept <= MOST_KEPT * _KEPT_AFTER_FORGETTING or len(self._counts) == 1:
                break
            piece = pieces[place]
            del self._counts[piece]
            self._missed.pop(piece, None)
            self._kept -= _weight(piece)
            self.at_most_missed = max(self.at_most_missed, int(at_most[place]))

    def __getitem__(self, piece: str) -> int:
        return self._counts[piece]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def items(self) -> ItemsView[str, int]:
        return self._counts.items()


def _weight(piece: str) -> int:
    return _BYTES_BESIDES + (len(piece) if piece.isascii() else len(utf8(piece)))


def texts_in_groups(texts: Iterable[str]) -> Iterator[list[str]]:
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
