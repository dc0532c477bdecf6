"""What training keeps of a text: how often each piece occurs in it."""

from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain

import numpy as np

from handgrad.system.arrays import Array
from handgrad.tokenizers.kernel_choice import kernels_for
from handgrad.tokenizers.splitting import splitter

# The limit on stored pieces, in bytes; each piece counts its own bytes and _BYTES_BESIDES. With this limit the pieces
# and their merges take less than 300 MB for any text.
MOST_KEPT = 8_000_000
_BYTES_BESIDES = 8
_KEPT_AFTER_FORGETTING = 3 / 4
_CHARACTERS_AT_A_TIME = 1 << 22


class PieceCounts(Mapping[str, int]):
    """How often each piece occurs in a text that may be larger than memory.

    If there are too many different pieces, the potentially rarest are forgotten: lossy counting (Manku & Motwani 2002),
    with a bound on memory instead of on the error. A new piece may be one that was forgotten, so it may have occurred
    up to ``at_most_missed`` times before. Among equally rare pieces the oldest go first.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._missed: dict[str, int] = {}  # how often a piece may have occurred before it was counted, if not 0
        self._kept = 0
        self.at_most_missed = 0
        """No count is too low by more than this, and every piece that occurs more often than this is counted."""

    def add(self, more: Mapping[str, int]) -> None:
        """Adds the counts of the next part of the text."""
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
    """The texts in order, in groups of some millions of characters."""
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
    """How often each piece occurs in these texts. The pattern cuts each text by itself."""
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
    """Texts as the kernels take them: (their UTF-8, concatenated, uint8 (n,); where each ends, int64 (texts,))."""
    encoded = [utf8(text) for text in texts]
    ends = np.fromiter(accumulate(map(len, encoded)), np.int64, len(encoded))
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def utf8(text: str) -> bytes:
    """UTF-8, with the replacement character for lone surrogates, which UTF-8 cannot express."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def well_formed(text: str) -> str:
    """The text, with the replacement character for lone surrogates, which UTF-8 cannot express."""
    return text if text.isascii() else utf8(text).decode()
