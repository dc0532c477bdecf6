"""The tokenizers that are compared."""

from dataclasses import dataclass
from typing import Literal

from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer, WordTokenizer, make_tokenizer


@dataclass(frozen=True)
class Candidate:
    """A tokenizer to compare."""

    name: str
    kind: Literal["char", "word", "bpe"]
    lowercase: bool = False
    """Words as in the published system: without capitals, and with one token for all unknown words."""

    def limit(self, vocab_size: int | None) -> int | None:
        """The limit of its vocabulary; characters are few and need no limit."""
        return None if self.kind == "char" else vocab_size

    def untrained(self, vocab_size: int | None, byte_fallback: bool = False) -> Tokenizer:
        """The tokenizer before it learns its vocabulary."""
        if self.lowercase:
            return WordTokenizer(max_vocab_size=vocab_size, lowercase=True)
        return make_tokenizer(self.kind, self.limit(vocab_size), byte_fallback)

    def made(self, tokenizer: Tokenizer) -> bool:
        """Whether a trained tokenizer can be of this kind."""
        lowercase = isinstance(tokenizer, WordTokenizer) and tokenizer.lowercase
        return (tokenizer.kind, lowercase) == (self.kind, self.lowercase)


CANDIDATES = {
    one.name: one
    for one in (
        Candidate("char", "char"),
        Candidate("word", "word"),
        Candidate("bpe", "bpe"),
        Candidate("word-lowercase", "word", lowercase=True),
    )
}


def candidate(name: str) -> Candidate:
    """The candidate of that name. Raises InputError for an unknown name."""
    if name not in CANDIDATES:
        raise InputError(f"unknown tokenizer {name[:80]!r}; choose from {', '.join(CANDIDATES)}")
    return CANDIDATES[name]
