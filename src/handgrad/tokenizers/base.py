"""What every tokenizer can do, and the special tokens that all of them start with."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np

from handgrad.arrays import Array
from handgrad.files import write_atomically

SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>")
FORMAT_VERSION = 1


class Tokenizer(ABC):
    """Text to ids and back. Ids 0 to 3 are ``<pad> <unk> <bos> <eos>``."""

    kind: str
    unk_id = SPECIAL_TOKENS.index("<unk>")
    eos_id = SPECIAL_TOKENS.index("<eos>")

    @abstractmethod
    def train(self, texts: str | Iterable[str]) -> Self:
        """Learns the vocabulary from one text or several, replacing what was learned before; returns itself."""

    @abstractmethod
    def encode(self, text: str) -> Array:
        """The ids of a text, int32 (n,)."""

    @abstractmethod
    def decode(self, ids: Iterable[int] | Array) -> str:
        """The text of ids. Raises IndexError for one outside the vocabulary."""

    def _checked(self, ids: Iterable[int] | Array) -> list[int]:
        """The ids as a list. Raises IndexError for one outside the vocabulary: a list would count -1 from its end."""
        numbers = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        outside = numbers[(numbers < 0) | (numbers >= self.vocab_size)]
        if outside.size:
            raise IndexError(f"decode: id {outside[0]} is outside the vocabulary of {self.vocab_size} tokens")
        checked: list[int] = numbers.tolist()
        return checked

    @abstractmethod
    def tokens(self, text: str) -> list[str]:
        """The pieces that ``encode`` cuts a text into, as strings to look at."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """How many ids there are, the special tokens included."""

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """What distinguishes this tokenizer from others of its kind, as JSON values."""

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that stand for no text."""
        return tuple(range(len(SPECIAL_TOKENS)))

    def to_bytes(self) -> bytes:
        """The content of the file that ``save`` writes: JSON in UTF-8, the same for equal tokenizers."""
        content = {"format": "handgrad-tokenizer", "version": FORMAT_VERSION, "kind": self.kind, **self._content()}
        return (json.dumps(content, ensure_ascii=True, indent=1) + "\n").encode()

    @property
    def sha256(self) -> str:
        """The hash of ``to_bytes``: which tokenizer this is."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes the tokenizer as JSON; ``load_tokenizer`` reads it."""
        write_atomically(Path(path), self.to_bytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())
