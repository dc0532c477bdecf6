"""One token for each character."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.tokenizers.base import read_flag, read_special_tokens
from handgrad.tokenizers.vocabulary import VocabularyTokenizer


class CharTokenizer(VocabularyTokenizer):
    """A token for each character (Unicode code point) of the training text, in code point order.

    ``max_vocab_size`` limits the vocabulary, including special tokens, to the most frequent characters. Other
    characters become <unk>, or with ``byte_fallback`` their UTF-8 bytes.

    >>> tokenizer = CharTokenizer().train("hello")
    >>> tokenizer.encode("hole?").tolist()
    [5, 7, 6, 4, 1]
    >>> tokenizer.decode([5, 4, 6, 6, 7])
    'hello'
    """

    kind = "char"

    def __init__(
        self,
        characters: Iterable[str] = (),
        *,
        max_vocab_size: int | None = None,
        byte_fallback: bool = False,
        special_tokens: Iterable[str] = (),
    ) -> None:
        super().__init__(max_vocab_size, byte_fallback, special_tokens)
        known = sorted(set(characters))
        if any(len(character) != 1 for character in known):
            raise InputError(f"characters must be single characters, not {max(known, key=len)!r}")
        self._set_characters(known)

    def count(self, texts: Sequence[str]) -> Counter[str]:
        code_points = _code_points("".join(texts))
        counts = np.bincount(code_points)
        return Counter({chr(c): int(counts[c]) for c in np.flatnonzero(counts).tolist()})

    def learn(self, counts: Mapping[str, int]) -> Self:
        self._set_characters(sorted(self._most_frequent(counts)))
        return self

    def _encode(self, text: str) -> Array:
        code_points = _code_points(text)
        known = np.minimum(code_points, len(self._id_of_code_point) - 1)
        ids: Array = self._id_of_code_point[known]
        if not self.byte_fallback or not (ids == self._special["<unk>"]).any():
            return ids
        return self._with_bytes(ids, np.flatnonzero(ids == self._special["<unk>"]), text)

    @property
    def releases_the_lock(self) -> bool:
        return True  # not all of the time, but the work is too little for processes to pay off

    @property
    def characters(self) -> tuple[str, ...]:
        """The characters of the vocabulary, in the order of their ids."""
        return self.known

    def _with_bytes(self, ids: Array, unknown: Array, text: str) -> Array:
        """The ids, with those at ``unknown`` replaced by the bytes of their characters."""
        parts, start = [], 0
        for i in unknown.tolist():
            parts += [ids[start:i], self._ids_of_unknown(text[i])]
            start = i + 1
        return np.concatenate([*parts, ids[start:]]).astype(np.int32)

    def _set_characters(self, characters: list[str]) -> None:
        self._set(characters)
        code_points = _code_points("".join(characters))
        # The last entry stands for all code points above the largest in the vocabulary.
        self._id_of_code_point = np.full(int(code_points.max(initial=-1)) + 2, self._special["<unk>"], np.int32)
        self._id_of_code_point[code_points] = np.arange(self._first, self.vocab_size)

    def _content(self) -> dict[str, Any]:
        return {**self._options(), "characters": list(self.characters)}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """From the JSON that ``save`` wrote. Raises InputError if it is malformed."""
        characters = content.get("characters")
        if not isinstance(characters, list) or not all(isinstance(c, str) and len(c) == 1 for c in characters):
            raise InputError("characters must be a list of single characters")
        if characters != sorted(set(characters)):
            raise InputError("characters must be distinct and in code point order")
        return cls(
            characters, byte_fallback=read_flag(content, "byte_fallback"), special_tokens=read_special_tokens(content)
        )


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
