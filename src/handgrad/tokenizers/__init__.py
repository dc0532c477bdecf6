"""Text to ids and back. Independent of the model."""

from pathlib import Path

from handgrad.system.errors import InputError
from handgrad.system.files import read_json
from handgrad.tokenizers.base import FORMAT_VERSION, SPECIAL_TOKENS, Tokenizer, tokenizer_file
from handgrad.tokenizers.bpe import BPETokenizer
from handgrad.tokenizers.bpe.formats.huggingface import read_huggingface
from handgrad.tokenizers.char import CharTokenizer
from handgrad.tokenizers.word import WordTokenizer

KINDS: dict[str, type[CharTokenizer] | type[WordTokenizer] | type[BPETokenizer]] = {
    CharTokenizer.kind: CharTokenizer,
    WordTokenizer.kind: WordTokenizer,
    BPETokenizer.kind: BPETokenizer,
}


def make_tokenizer(kind: str, vocab_size: int | None = None) -> Tokenizer:
    """An untrained tokenizer of a kind (char, word or bpe) that will have at most vocab_size ids.

    The word tokenizer has byte fallback, so that unknown words are not lost.

    Raises InputError for an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown tokenizer {kind!r}; choose from {', '.join(KINDS)}")
    if kind == WordTokenizer.kind:
        return WordTokenizer(max_vocab_size=vocab_size, byte_fallback=True)
    return KINDS[kind](max_vocab_size=vocab_size)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer that ``save`` wrote to this file, or to ``tokenizer.json`` in this directory.

    The file may also be a ``tokenizer.json`` of Hugging Face's ``tokenizers``.

    Raises InputError if the file is missing or damaged, or if it needs features that are not supported.
    """
    path = tokenizer_file(path)
    content = read_json(path)
    if "format" not in content and "model" in content:
        return BPETokenizer.of(read_huggingface(content, path))
    if content.get("format") != "handgrad-tokenizer" or content.get("version") != FORMAT_VERSION:
        raise InputError(f"{path} is not a handgrad tokenizer of version {FORMAT_VERSION}")
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{path} holds a tokenizer of unknown kind {kind!r}; choose from {', '.join(KINDS)}")
    try:
        return KINDS[kind].from_content(content)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


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
