"""Tokenizers whose tokens are characters or words. Others are unknown, or fall back to bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handgrad.system.errors import InputError
from handgrad.tokenizers.base import Tokenizer
from handgrad.tokenizers.counting import utf8


class VocabularyTokenizer(Tokenizer):
    """The ids: special tokens, then with ``byte_fallback`` the 256 bytes, then the characters or words.

    With ``byte_fallback`` an unknown character or word becomes its UTF-8 bytes, so that nothing is lost.
    """

    def __init__(self, max_vocab_size: int | None, byte_fallback: bool, special_tokens: Iterable[str]) -> None:
        super().__init__(special_tokens)
        self.byte_fallback = byte_fallback
        self._first_byte = len(self._special)
        self._first = self._first_byte + 256 * byte_fallback
        if max_vocab_size is not None and max_vocab_size <= self._first:
            and_bytes = " and the 256 bytes" if byte_fallback else ""
            raise InputError(
                f"vocab_size must exceed the {self._first_byte} special tokens{and_bytes}, not be {max_vocab_size}"
            )
        self.max_vocab_size = max_vocab_size

    def _decoded(self, numbers: list[int], errors: str) -> str:
        if not any(self._first_byte <= i < self._first for i in numbers):
            return "".join([self._pieces[i] for i in numbers])
        return super()._decoded(numbers, errors)

    def token(self, number: int) -> str:
        (checked,) = self._checked([number])
        return self._pieces[checked]

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    @property
    def known(self) -> tuple[str, ...]:
        """The characters or words of the vocabulary, in the order of their ids."""
        return tuple(self._pieces[self._first :])

    def _most_frequent(self, counts: Mapping[str, int], min_freq: int = 1) -> list[str]:
        """The texts that fit into the vocabulary, most frequent first; ties in code point order."""
        frequent = sorted((text for text in counts if counts[text] >= min_freq), key=lambda text: (-counts[text], text))
        return frequent if self.max_vocab_size is None else frequent[: self.max_vocab_size - self._first]

    def _set(self, known: Sequence[str]) -> None:
        shown = [f"<{byte:02X}>" for byte in range(256)] if self.byte_fallback else []
        self._pieces = [*self._special, *shown, *known]
        self._id_of = {text: self._first + i for i, text in enumerate(known)}

    def _ids_of_unknown(self, text: str) -> list[int]:
        if not self.byte_fallback:
            return [self._special["<unk>"]]
        return [self._first_byte + byte for byte in utf8(text)]

    def _bytes_of(self, number: int) -> bytes:
        if self._first_byte <= number < self._first:
            return bytes([number - self._first_byte])
        return utf8(self._pieces[number])

    def _options(self) -> dict[str, Any]:
        """The options for the file; empty if all have their defaults."""
        return self._special_content() | ({"byte_fallback": True} if self.byte_fallback else {})
