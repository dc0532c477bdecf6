"""The tokenizers that are compared."""

from dataclasses import dataclass
from typing import Literal

from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer, WordTokenizer, make_tokenizer


@dataclass(frozen=True)
class Candidate:
    """A tokenizer that a text is cut by."""

    name: str
    kind: Literal["char", "word", "bpe"]
    lowercase: bool = False
    """Words as the published system has them: capitals are forgotten, and all unknown words are one token."""

    def limit(self, vocab_size: int | None) -> int | None:
        """The most tokens that it may learn of so many allowed; characters are few, and all of them are known."""
        return None if self.kind == "char" else vocab_size

    def untrained(self, vocab_size: int | None) -> Tokenizer:
        """The tokenizer before it has learned."""
        if self.lowercase:
            return WordTokenizer(max_vocab_size=vocab_size, lowercase=True)
        return make_tokenizer(self.kind, self.limit(vocab_size))

    def made(self, tokenizer: Tokenizer) -> bool:
        """Whether a tokenizer can be what became of this one."""
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
    """The candidate of that name. Raises InputError for another."""
    if name not in CANDIDATES:
        raise InputError(f"unknown tokenizer {name[:80]!r}; known: {', '.join(CANDIDATES)}")
    return CANDIDATES[name]
