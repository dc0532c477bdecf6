"""One token for each word, sign, or run of white space."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Self

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.tokenizers.base import read_flag, read_special_tokens
from handgrad.tokenizers.counting import count_pieces, joined, utf8, well_formed
from handgrad.tokenizers.kernel_choice import can_be_compiled, kernels_for
from handgrad.tokenizers.splitting import WORDS, splitter
from handgrad.tokenizers.vocabulary import VocabularyTokenizer


class WordTokenizer(VocabularyTokenizer):
    """A token for each word (letters, digits, underscores), other sign, or run of white space of the training text.

    Ids follow frequency; ties are in code point order. ``lowercase`` drops capitals, so texts do not come back exactly.
    ``min_freq`` excludes rarer tokens, ``max_vocab_size`` all but the most frequent. Unknown words become <unk>, or
    with ``byte_fallback`` their UTF-8 bytes.

    >>> tokenizer = WordTokenizer().train("To be, or not to be")
    >>> tokenizer.tokens("not to be or?")
    ['not', ' ', 'to', ' ', 'be', ' ', 'or', '<unk>']
    """

    kind = "word"
    _tables: tuple[Array, ...] | None

    def __init__(
        self,
        *,
        max_vocab_size: int | None = None,
        min_freq: int = 1,
        lowercase: bool = False,
        byte_fallback: bool = False,
        special_tokens: Iterable[str] = (),
    ) -> None:
        super().__init__(max_vocab_size, byte_fallback, special_tokens)
        if min_freq < 1:
            raise InputError(f"min_freq must be at least 1, not {min_freq}")
        self.min_freq = min_freq
        self.lowercase = lowercase
        self._set([])

    def count(self, texts: Sequence[str]) -> Counter[str]:
        return count_pieces(WORDS, [text.lower() for text in texts] if self.lowercase else texts)

    def learn(self, counts: Mapping[str, int]) -> Self:
        self._set(self._most_frequent(counts, self.min_freq))
        return self

    def _encode(self, text: str) -> Array:
        text = well_formed(text.lower() if self.lowercase else text)
        kernels = kernels_for(len(text))
        return self._encode_in_python(text) if kernels is None else self._encode_compiled(text, kernels)

    def _encode_in_python(self, text: str) -> Array:
        ids: list[int] = []
        for word in splitter(WORDS)(text):
            known = self._id_of.get(word)
            if known is None:
                ids += self._ids_of_unknown(word)
            else:
                ids.append(known)
        return np.array(ids, dtype=np.int32)

    def _encode_compiled(self, text: str, kernels: ModuleType) -> Array:
        tables = self._tables
        if tables is None:
            words = joined(self.known)
            tables = self._tables = (*words, kernels.word_table(*words))
        first_byte = self._first_byte if self.byte_fallback else -1
        content = np.frombuffer(utf8(text), np.uint8)
        ids: Array = kernels.encode_words(content, *tables, self._first, first_byte, self._special["<unk>"])
        return ids

    @property
    def releases_the_lock(self) -> bool:
        return can_be_compiled()

    def _set(self, known: Sequence[str]) -> None:
        super()._set(known)
        self._tables = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": None}

    def _content(self) -> dict[str, Any]:
        return {**self._options(), "lowercase": self.lowercase, "words": list(self.known)}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """From the JSON that ``save`` wrote. Raises InputError if it is malformed."""
        words = content.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
            raise InputError("words must be a list of strings that are not empty")
        if len(set(words)) < len(words):
            twice = next(word for word, count in Counter(words).items() if count > 1)
            raise InputError(f"the word {twice[:80]!r} occurs twice")
        tokenizer = cls(
            lowercase=read_flag(content, "lowercase"),
            byte_fallback=read_flag(content, "byte_fallback"),
            special_tokens=read_special_tokens(content),
        )
        tokenizer._set(words)
        return tokenizer
