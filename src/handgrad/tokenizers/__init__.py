"""Text to ids and back. Independent of the model."""

from handgrad.system.errors import InputError
from handgrad.tokenizers.base import SPECIAL_TOKENS, Tokenizer
from handgrad.tokenizers.bpe import BPETokenizer
from handgrad.tokenizers.char import CharTokenizer
from handgrad.tokenizers.files import KINDS, load_tokenizer
from handgrad.tokenizers.word import WordTokenizer


def make_tokenizer(kind: str, vocab_size: int | None = None, byte_fallback: bool = False) -> Tokenizer:
    """An untrained tokenizer of a kind (char, word or bpe) that will have at most vocab_size ids.

    The word tokenizer has byte fallback, so that unknown words are not lost, and char has it with ``byte_fallback``.
    Byte pairs lose nothing without it.

    Raises InputError for an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown tokenizer {kind!r}; choose from {', '.join(KINDS)}")
    if kind == WordTokenizer.kind:
        return WordTokenizer(max_vocab_size=vocab_size, byte_fallback=True)
    if kind == CharTokenizer.kind:
        return CharTokenizer(max_vocab_size=vocab_size, byte_fallback=byte_fallback)
    return KINDS[kind](max_vocab_size=vocab_size)


__all__ = [
    "KINDS",
    "SPECIAL_TOKENS",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "load_tokenizer",
    "make_tokenizer",
]
