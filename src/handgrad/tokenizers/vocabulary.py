"""Tokenizers whose tokens are texts, characters or words: what is not among them is unknown, or falls back to bytes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from handgrad.arrays import Array
from handgrad.errors import InputError
from handgrad.tokenizers.base import SPECIAL_TOKENS, Tokenizer

_FIRST_BYTE = len(SPECIAL_TOKENS)


class VocabularyTokenizer(Tokenizer):
    """Ids 0 to 3 are the special tokens; 4 to 259 the 256 bytes, where ``byte_fallback``; then come the texts known.

    With ``byte_fallback`` a text that is not known becomes the bytes of its UTF-8, so that nothing is lost.
    """

    def __init__(self, max_vocab_size: int | None, byte_fallback: bool) -> None:
        self.byte_fallback = byte_fallback
        self._first = _FIRST_BYTE + 256 * byte_fallback
        if max_vocab_size is not None and max_vocab_size <= self._first:
            and_bytes = " and the 256 bytes" if byte_fallback else ""
            raise InputError(
                f"vocab_size must exceed the {_FIRST_BYTE} special tokens{and_bytes}, not be {max_vocab_size}"
            )
        self.max_vocab_size = max_vocab_size

    def decode(self, ids: Iterable[int] | Array) -> str:
        """The text of ids; bytes that are not UTF-8, as when a character is cut in two, become U+FFFD.

        Raises IndexError for an id outside the vocabulary.
        """
        numbers = self._checked(ids)
        if not any(_FIRST_BYTE <= i < self._first for i in numbers):
            return "".join([self._pieces[i] for i in numbers])
        return b"".join([self._bytes_of(i) for i in numbers]).decode("utf-8", "replace")

    def tokens(self, text: str) -> list[str]:
        return [self._pieces[i] for i in self.encode(text).tolist()]

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    @property
    def known(self) -> tuple[str, ...]:
        """The texts known, in the order of their ids."""
        return tuple(self._pieces[self._first :])

    def _most_frequent(self, counts: Counter[str], min_freq: int = 1) -> list[str]:
        """The texts that fit into the vocabulary, the most frequent first, among equals in code point order."""
        frequent = sorted((text for text in counts if counts[text] >= min_freq), key=lambda text: (-counts[text], text))
        return frequent if self.max_vocab_size is None else frequent[: self.max_vocab_size - self._first]

    def _set(self, known: Sequence[str]) -> None:
        shown = [f"<{byte:02X}>" for byte in range(256)] if self.byte_fallback else []
        self._pieces = [*SPECIAL_TOKENS, *shown, *known]
        self._id_of = {text: self._first + i for i, text in enumerate(known)}

    def _ids_of_unknown(self, text: str) -> list[int]:
        if not self.byte_fallback:
            return [self.unk_id]
        return [_FIRST_BYTE + byte for byte in text.encode("utf-8", "replace")]

    def _bytes_of(self, number: int) -> bytes:
        if _FIRST_BYTE <= number < self._first:
            return bytes([number - _FIRST_BYTE])
        return self._pieces[number].encode("utf-8", "replace")

    def _options(self) -> dict[str, Any]:
        """What the file says besides the texts; nothing where nothing is out of the ordinary."""
        return {"byte_fallback": True} if self.byte_fallback else {}


def read_flag(content: dict[str, Any], name: str) -> bool:
    """A truth value in a tokenizer's file, false where it is not there. Raises InputError for anything else."""
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {value!r}")
    return value
