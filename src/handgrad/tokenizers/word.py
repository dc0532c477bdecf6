"""One token for each word, sign, or run of white space."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from handgrad.arrays import Array
from handgrad.errors import InputError
from handgrad.tokenizers.base import read_special_tokens
from handgrad.tokenizers.counting import count_pieces
from handgrad.tokenizers.splitting import WORDS, splitter
from handgrad.tokenizers.vocabulary import VocabularyTokenizer, read_flag


class WordTokenizer(VocabularyTokenizer):
    """A token for each word (letters, digits, underscores), other sign, or run of white space of the training text.

    They stand in the order of their frequency, among equals in code point order. ``lowercase`` forgets capitals, and
    so does not give a text back. ``min_freq`` leaves out what is rarer, ``max_vocab_size`` all but the most frequent.
    What is not known is <unk>, or with ``byte_fallback`` the bytes of its UTF-8.

    >>> tokenizer = WordTokenizer().train("To be, or not to be")
    >>> tokenizer.tokens("not to be or?")
    ['not', ' ', 'to', ' ', 'be', ' ', 'or', '<unk>']
    """

    kind = "word"

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
        ids: list[int] = []
        for word in splitter(WORDS)(text.lower() if self.lowercase else text):
            known = self._id_of.get(word)
            if known is None:
                ids += self._ids_of_unknown(word)
            else:
                ids.append(known)
        return np.array(ids, dtype=np.int32)

    def _content(self) -> dict[str, Any]:
        return {**self._options(), "lowercase": self.lowercase, "words": list(self.known)}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """From the JSON that ``save`` wrote. Raises InputError where it is not of that form."""
        words = content.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
            raise InputError("words must be a list of texts that are not empty")
        if len(set(words)) < len(words):
            twice = next(word for word, count in Counter(words).items() if count > 1)
            raise InputError(f"the word {twice[:80]!r} stands twice")
        tokenizer = cls(
            lowercase=read_flag(content, "lowercase"),
            byte_fallback=read_flag(content, "byte_fallback"),
            special_tokens=read_special_tokens(content),
        )
        tokenizer._set(words)
        return tokenizer
