"""Byte-pair encoding on bytes: encodes any text exactly; nothing is unknown."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.files import read_json
from handgrad.tokenizers.base import Tokenizer, tokenizer_file
from handgrad.tokenizers.bpe.byte_pairs import BYTES, BytePairs
from handgrad.tokenizers.bpe.formats.gpt2 import read_vocab_and_merges, write_vocab_and_merges
from handgrad.tokenizers.bpe.formats.huggingface import read_huggingface, write_huggingface
from handgrad.tokenizers.bpe.formats.tiktoken import read_tiktoken, write_tiktoken
from handgrad.tokenizers.bpe.learning import Merge, learn_merges
from handgrad.tokenizers.bpe.merging import merge_all
from handgrad.tokenizers.counting import count_pieces, utf8
from handgrad.tokenizers.kernel_choice import can_be_compiled, kernels_for
from handgrad.tokenizers.splitting import splitter

DEFAULT_VOCAB_SIZE = 2048
# How many pieces to cache, and their greatest length: natural text repeats nearly all of its pieces.
_REMEMBERED, _REMEMBERED_LENGTH = 1 << 17, 32


class BPETokenizer(Tokenizer):
    """The 256 bytes, and parts learned by merging the most frequent pair of neighbours in the training text.

    ``pattern`` (gpt2, gpt4 or none) first cuts the text into pieces; merges stay within a piece. The ids: special
    tokens, then the bytes in GPT-2's order, then the merges in the order they were learned.

    >>> tokenizer = BPETokenizer(max_vocab_size=263).train("aaabdaaabac")
    >>> tokenizer.tokens("aaab ✓")
    ['aaab', ' ', '<E2>', '<9C>', '<93>']
    >>> tokenizer.decode(tokenizer.encode("aaab ✓"))
    'aaab ✓'

    Raises InputError for an unknown pattern, or a vocabulary without room for the bytes.
    """

    kind = "bpe"
    _tables: tuple[Array, Array] | None

    def __init__(
        self, *, max_vocab_size: int | None = None, pattern: str = "gpt2", special_tokens: Iterable[str] = ()
    ) -> None:
        super().__init__(special_tokens)
        least = len(self._special) + len(BYTES)
        self.max_vocab_size = max(DEFAULT_VOCAB_SIZE, least) if max_vocab_size is None else max_vocab_size
        if self.max_vocab_size < least:
            raise InputError(
                f"vocab_size must be at least {least}, the special tokens and the 256 bytes, not {max_vocab_size}"
            )
        self._set(BytePairs.learned(pattern, self._special, ()))

    def count(self, texts: Sequence[str]) -> Counter[str]:
        return count_pieces(self.pattern, texts)

    def learn(self, counts: Mapping[str, int]) -> Self:
        # Merging a piece takes about ten times as long as cutting it off.
        kernels = kernels_for(10 * sum(map(len, counts)))
        learn = learn_merges if kernels is None else kernels.learn_merges
        pieces = ((utf8(piece), count) for piece, count in counts.items())
        merges = learn(pieces, BYTES, self.max_vocab_size - len(self._special))
        learned = BytePairs.learned(self.pattern, self._special, merges)
        self._set(replace(learned, prefix_space=self._pairs.prefix_space))
        return self

    def _encode(self, text: str) -> Array:
        prefix = " " if self._pairs.prefix_space and text and not text.startswith(" ") else ""
        return self.encode_on(prefix + text)

    def encode_on(self, text: str) -> Array:
        kernels = None if self._whole else kernels_for(len(text))
        return self._encode_in_python(text) if kernels is None else self._encode_compiled(text, kernels)

    def _encode_in_python(self, text: str) -> Array:
        ids: list[int] = []
        remembered = self._remembered
        for piece in splitter(self.pattern)(text):
            found = remembered.get(piece)
            if found is None:
                found = self._merged(utf8(piece))
                if len(piece) <= _REMEMBERED_LENGTH and len(remembered) < _REMEMBERED:
                    remembered[piece] = found
            ids += found
        return np.array(ids, dtype=np.int32)

    def _merged(self, piece: bytes) -> list[int]:
        if (whole := self._whole.get(piece)) is not None:
            return [whole]
        known = [self._id_of_byte[byte] for byte in piece]
        return merge_all([i for i in known if i >= 0], self._made_of, self._rank_of)

    def _encode_compiled(self, text: str, kernels: ModuleType) -> Array:
        tables = self._tables
        if tables is None:
            pairs = np.array(list(self._rank_of), np.int64).reshape(-1, 2)
            ranks = np.array(list(self._rank_of.values()), np.int64)
            made = np.array([self._made_of[pair] for pair in self._rank_of], np.int64)
            id_of_byte = np.array(self._id_of_byte, np.int32)
            tables = self._tables = id_of_byte, kernels.pair_table(pairs[:, 0], pairs[:, 1], ranks, made)
        # Each thread takes a cache for the duration of a call and returns it for the next.
        try:
            cache = self._caches.pop()
        except IndexError:
            cache = kernels.new_cache()
        pattern = kernels.PATTERN_NUMBERS[self.pattern]
        ids: Array = kernels.encode_pieces(np.frombuffer(utf8(text), np.uint8), pattern, *tables, cache)
        self._caches.append(cache)
        return ids

    @property
    def releases_the_lock(self) -> bool:
        return can_be_compiled() and not self._whole

    def _bytes_of(self, number: int) -> bytes:
        found = self._bytes[number]
        if found is None:
            raise IndexError(f"decode: no token of this vocabulary has the id {number}")
        return found

    @property
    def pattern(self) -> str:
        """How a text is cut into pieces: gpt2, gpt4 or none."""
        return self._pairs.pattern

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    @property
    def special_ids(self) -> tuple[int, ...]:
        gaps = (number for number, part in enumerate(self._bytes) if part is None)
        return (*self._special.values(), *gaps)

    @property
    def merges(self) -> tuple[Merge, ...]:
        """The merged pairs, in the order they were learned."""
        return self._pairs.merges

    def to_huggingface(self, path: str | Path) -> None:
        """Writes a ``tokenizer.json`` of Hugging Face's ``tokenizers``, which gives the same ids.

        Raises InputError if that format cannot express this tokenizer.
        """
        write_huggingface(self._pairs, Path(path))

    @classmethod
    def from_huggingface(cls, path: str | Path) -> Self:
        """Reads a ``tokenizer.json`` of Hugging Face's ``tokenizers``, or the directory that holds one.

        Gives the same ids as that library. Supported is byte-pair encoding on bytes: ByteLevel, or Split by GPT-2's or
        GPT-4's pattern and then ByteLevel, with no normalizer. Raises InputError that names anything else.
        """
        path = tokenizer_file(path)
        return cls.of(read_huggingface(read_json(path), path))

    def to_vocab_and_merges(self, directory: str | Path) -> None:
        """Writes GPT-2's two files, ``vocab.json`` and ``merges.txt``, which do not store the pattern."""
        write_vocab_and_merges(self._pairs, Path(directory))

    @classmethod
    def from_vocab_and_merges(cls, vocab: str | Path, merges: str | Path, *, pattern: str = "gpt2") -> Self:
        """Reads GPT-2's two files. A token that is not a byte and that no merge makes is a special token."""
        return cls.of(read_vocab_and_merges(Path(vocab), Path(merges), pattern))

    def to_tiktoken(self, path: str | Path) -> None:
        """Writes a rank file of ``tiktoken``: one line for each part, in base 64, with its id.

        It does not store the pattern and the special tokens; pass these to ``tiktoken.Encoding``. Raises InputError if
        ids do not follow the order of merges, as the file stores no other order.
        """
        write_tiktoken(self._pairs, Path(path))

    @classmethod
    def from_tiktoken(
        cls, path: str | Path, *, pattern: str = "gpt4", special_tokens: Mapping[str, int] | None = None
    ) -> Self:
        """Reads a rank file of ``tiktoken``. Any two parts merge if together they are a part, the lowest rank first."""
        return cls.of(read_tiktoken(Path(path), pattern, special_tokens or {}))

    @classmethod
    def of(cls, pairs: BytePairs) -> Self:
        """The tokenizer with these parts and merges."""
        tokenizer = cls()
        tokenizer._set(pairs)
        tokenizer.max_vocab_size = max(tokenizer.vocab_size, len(pairs.special_tokens) + len(BYTES))
        return tokenizer

    def _set(self, pairs: BytePairs) -> None:
        self._pairs = pairs
        self._special = dict(pairs.special_tokens)
        self._bytes: list[bytes | None] = [None] * pairs.vocab_size
        for token, number in pairs.special_tokens.items():
            self._bytes[number] = token.encode()
        for part, number in pairs.ids.items():
            self._bytes[number] = part
        no_byte = -1 if pairs.unknown_id is None else pairs.unknown_id
        self._id_of_byte = [pairs.ids.get(bytes([byte]), no_byte) for byte in range(256)]
        self._rank_of, self._made_of = pairs.ranks()
        self._remembered: dict[str, list[int]] = {}
        self._tables = None
        self._caches: list[Array] = []
        self._whole: dict[bytes, int] = {}
        if pairs.whole_pieces:
            self._whole = {part: number for part, number in pairs.ids.items() if self._merged(part) != [number]}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_remembered": {}, "_tables": None, "_caches": []}

    def _content(self) -> dict[str, Any]:
        return self._pairs.to_content()

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """From the JSON that ``save`` wrote. Raises InputError if it is malformed."""
        return cls.of(BytePairs.from_content(content))
