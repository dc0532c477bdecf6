"""Byte-pair encoding on bytes: any text, exactly; nothing is unknown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Self

import numpy as np

from handgrad.arrays import Array
from handgrad.errors import InputError
from handgrad.tokenizers.base import SPECIAL_TOKENS, Tokenizer, utf8
from handgrad.tokenizers.merges import Pair, learn_merges, merge_all
from handgrad.tokenizers.splitting import splitter

DEFAULT_VOCAB_SIZE = 2048
# Bytes as characters that can be seen, GPT-2's way, and in GPT-2's order: those that print stand for themselves, the
# others for the characters from U+0100 on.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
_BYTES = (*_PRINTABLE, *_HIDDEN)
_CHARACTER_OF = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_HIDDEN)}
_FIRST_BYTE = len(SPECIAL_TOKENS)
_FIRST_MERGE = _FIRST_BYTE + 256
_PART_OF_BYTE = [_FIRST_BYTE + _BYTES.index(byte) for byte in range(256)]
# Pieces whose ids are remembered: natural text repeats nearly all of its pieces.
_REMEMBERED = 1 << 17


class BPETokenizer(Tokenizer):
    """The 256 bytes, and parts learned by merging the pair of neighbours that stands most often in the training text.

    The text is cut into pieces first, by ``pattern`` (gpt2, gpt4 or none), and merges stay within a piece. Ids 4 to
    259 are the bytes, in GPT-2's order; then come the merges, as they were learned.

    >>> tokenizer = BPETokenizer(max_vocab_size=263).train("aaabdaaabac")
    >>> tokenizer.tokens("aaab ✓")
    ['aaab', ' ', '<E2>', '<9C>', '<93>']
    >>> tokenizer.decode(tokenizer.encode("aaab ✓"))
    'aaab ✓'

    Raises InputError for an unknown pattern, or a vocabulary without room for the bytes.
    """

    kind = "bpe"

    def __init__(self, *, max_vocab_size: int | None = None, pattern: str = "gpt2") -> None:
        wanted = DEFAULT_VOCAB_SIZE if max_vocab_size is None else max_vocab_size
        if wanted < _FIRST_MERGE:
            raise InputError(
                f"vocab_size must be at least {_FIRST_MERGE}, the special tokens and the 256 bytes, not {wanted}"
            )
        super().__init__()
        self.max_vocab_size = wanted
        self.pattern = pattern
        self._split = splitter(pattern)
        self._set([])

    def count(self, texts: Sequence[str]) -> Counter[str]:
        return Counter(chain.from_iterable(map(self._split, texts)))

    def learn(self, counts: Mapping[str, int]) -> Self:
        pieces: Counter[bytes] = Counter()
        for piece, count in counts.items():
            pieces[utf8(piece)] += count
        # Numbered without the special tokens, which no merge may make.
        merges = learn_merges(pieces, [bytes([byte]) for byte in _BYTES], self.max_vocab_size - _FIRST_BYTE)
        self._set([(left + _FIRST_BYTE, right + _FIRST_BYTE) for left, right in merges])
        return self

    def _encode(self, text: str) -> Array:
        ids: list[int] = []
        remembered = self._remembered
        for piece in self._split(text):
            found = remembered.get(piece)
            if found is None:
                found = merge_all([_PART_OF_BYTE[byte] for byte in utf8(piece)], self._made_of, self._rank_of)
                if len(remembered) < _REMEMBERED:
                    remembered[piece] = found
            ids += found
        return np.array(ids, dtype=np.int32)

    def _bytes_of(self, number: int) -> bytes:
        return self._bytes[number]

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    @property
    def merges(self) -> tuple[tuple[bytes, bytes], ...]:
        """The pairs that were merged, in the order they were learned."""
        return tuple((self._bytes[left], self._bytes[right]) for left, right in self._rank_of)

    def _set(self, merges: list[Pair]) -> None:
        self._bytes = [token.encode() for token in SPECIAL_TOKENS] + [bytes([byte]) for byte in _BYTES]
        id_of = {part: _FIRST_BYTE + i for i, part in enumerate(self._bytes[_FIRST_BYTE:])}
        self._rank_of = {pair: rank for rank, pair in enumerate(merges)}
        self._made_of: dict[Pair, int] = {}
        for left, right in merges:
            part = self._bytes[left] + self._bytes[right]
            self._made_of[left, right] = made = id_of.setdefault(part, len(self._bytes))
            if made == len(self._bytes):
                self._bytes.append(part)
        self._remembered: dict[str, list[int]] = {}

    def _content(self) -> dict[str, Any]:
        return {"pattern": self.pattern, "merges": [f"{_seen(left)} {_seen(right)}" for left, right in self.merges]}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """From the JSON that ``save`` wrote. Raises InputError where it is not of that form."""
        pattern, merges = content.get("pattern"), content.get("merges")
        if not isinstance(pattern, str):
            raise InputError(f"pattern must be a text, not {pattern!r}")
        if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
            raise InputError("merges must be a list of texts")
        part_of = {_CHARACTER_OF[byte]: _PART_OF_BYTE[byte] for byte in range(256)}
        pairs: dict[Pair, None] = {}
        for number, merge in enumerate(merges, start=1):
            left, _, right = merge.partition(" ")
            if left not in part_of or right not in part_of:
                raise InputError(f"merge {number}, {merge[:80]!r}, is not of two parts that are known by then")
            pair = part_of[left], part_of[right]
            if pair in pairs:
                raise InputError(f"merge {number}, {merge[:80]!r}, stands twice")
            pairs[pair] = None
            part_of.setdefault(left + right, _FIRST_BYTE + len(part_of))
        tokenizer = cls(max_vocab_size=_FIRST_BYTE + len(part_of), pattern=pattern)
        tokenizer._set(list(pairs))
        return tokenizer


def _seen(part: bytes) -> str:
    return "".join(_CHARACTER_OF[byte] for byte in part)
