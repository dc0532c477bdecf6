"""One token for each character."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from handgrad.arrays import Array
from handgrad.errors import InputError
from handgrad.tokenizers.base import SPECIAL_TOKENS, Tokenizer


class CharTokenizer(Tokenizer):
    """A token for each character (Unicode code point) of the training text, in code point order; others are <unk>.

    ``max_vocab_size`` keeps only the most frequent characters, so many that with the special tokens they fit.

    >>> tokenizer = CharTokenizer().train("hello")
    >>> tokenizer.encode("hole?").tolist()
    [5, 7, 6, 4, 1]
    >>> tokenizer.decode([5, 4, 6, 6, 7])
    'hello'
    """

    kind = "char"

    def __init__(self, characters: Iterable[str] = (), *, max_vocab_size: int | None = None) -> None:
        if max_vocab_size is not None and max_vocab_size <= len(SPECIAL_TOKENS):
            raise InputError(
                f"vocab_size must exceed the {len(SPECIAL_TOKENS)} special tokens, not be {max_vocab_size}"
            )
        self.max_vocab_size = max_vocab_size
        known = sorted(set(characters))
        if any(len(character) != 1 for character in known):
            raise InputError(f"characters must be single characters, not {max(known, key=len)!r}")
        self._set(known)

    def train(self, texts: str | Iterable[str]) -> Self:
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            counts.update(text)
        by_frequency = sorted(counts, key=lambda character: (-counts[character], character))
        kept = None if self.max_vocab_size is None else self.max_vocab_size - len(SPECIAL_TOKENS)
        self._set(sorted(by_frequency[:kept]))
        return self

    def encode(self, text: str) -> Array:
        code_points = _code_points(text)
        known = np.minimum(code_points, len(self._id_of_code_point) - 1)
        ids: Array = self._id_of_code_point[known]
        return ids

    def decode(self, ids: Iterable[int] | Array) -> str:
        ids = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        outside = ids[(ids < 0) | (ids >= self.vocab_size)]
        if outside.size:
            raise IndexError(f"decode: id {outside[0]} is outside the vocabulary of {self.vocab_size} tokens")
        return "".join(self._pieces[i] for i in ids.tolist())

    def tokens(self, text: str) -> list[str]:
        return [self._pieces[i] for i in self.encode(text).tolist()]

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    @property
    def characters(self) -> tuple[str, ...]:
        """The characters known, in the order of their ids."""
        return tuple(self._pieces[len(SPECIAL_TOKENS) :])

    def _set(self, characters: list[str]) -> None:
        self._pieces = [*SPECIAL_TOKENS, *characters]
        code_points = _code_points("".join(characters))
        # One place past the largest code point stands for all that lie above it.
        self._id_of_code_point = np.full(int(code_points.max(initial=-1)) + 2, self.unk_id, np.int32)
        self._id_of_code_point[code_points] = np.arange(len(SPECIAL_TOKENS), self.vocab_size)

    def _content(self) -> dict[str, Any]:
        return {"characters": list(self.characters)}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """From the JSON that ``save`` wrote. Raises InputError where it is not of that form."""
        characters = content.get("characters")
        if not isinstance(characters, list) or not all(isinstance(c, str) and len(c) == 1 for c in characters):
            raise InputError("characters must be a list of single characters")
        if characters != sorted(set(characters)):
            raise InputError("characters must stand once each, in code point order")
        return cls(characters)


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
