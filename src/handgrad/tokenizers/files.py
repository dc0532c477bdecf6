"""Reads a tokenizer from any file that this library reads, recognised by its content and by what lies beside it."""

import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

from handgrad.system.errors import InputError
from handgrad.system.files import read_file, read_json
from handgrad.tokenizers.base import FORMAT_VERSION, Tokenizer
from handgrad.tokenizers.bpe import BPETokenizer
from handgrad.tokenizers.bpe.formats.huggingface import read_huggingface
from handgrad.tokenizers.char import CharTokenizer
from handgrad.tokenizers.word import WordTokenizer

KINDS: dict[str, type[CharTokenizer] | type[WordTokenizer] | type[BPETokenizer]] = {
    CharTokenizer.kind: CharTokenizer,
    WordTokenizer.kind: WordTokenizer,
    BPETokenizer.kind: BPETokenizer,
}
# GPT-2's two files, by their names in Hugging Face's repositories and in OpenAI's.
_VOCABULARIES, _MERGES = ("vocab.json", "encoder.json"), ("merges.txt", "vocab.bpe")
# The patterns and the special tokens of OpenAI's rank files, which do not store them.
_RANK_FILES: dict[str, tuple[str, dict[str, int]]] = {
    "gpt2": ("gpt2", {"<|endoftext|>": 50256}),
    "r50k_base": ("gpt2", {"<|endoftext|>": 50256}),
    "p50k_base": ("gpt2", {"<|endoftext|>": 50256}),
    "cl100k_base": (
        "gpt4",
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
}
_RANK_LINE = re.compile(rb"\s*[A-Za-z0-9+/]+={0,2} [0-9]+\s*(\n|$)")


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer that ``save`` wrote to this file, or to ``tokenizer.json`` in this directory; or another library's.

    Supported are a ``tokenizer.json`` of Hugging Face's ``tokenizers``; GPT-2's vocabulary (``vocab.json`` or
    ``encoder.json``) and merges (``merges.txt`` or ``vocab.bpe``), side by side, of which either can be named; and a
    rank file of ``tiktoken``. Rank files do not store their pattern: it is GPT-4's, or GPT-2's if the file has the name
    of one of OpenAI's that uses it; for such names the special tokens are known too.

    Raises InputError if the file is missing or damaged, or if it needs features that are not supported.
    """
    path = _file_in(Path(path)) if Path(path).is_dir() else Path(path)
    head = read_file(path)[:200].removeprefix(BOM_UTF8)
    if _RANK_LINE.match(head):
        pattern, special_tokens = _RANK_FILES.get(path.stem, ("gpt4", {}))
        return BPETokenizer.from_tiktoken(path, pattern=pattern, special_tokens=special_tokens)
    if head.startswith(b"#version") or path.name in _MERGES:
        return BPETokenizer.from_vocab_and_merges(_beside(path, _VOCABULARIES, "vocabulary"), path)
    content = read_json(path)
    if "format" not in content and "model" in content:
        return BPETokenizer.of(read_huggingface(content, path))
    if "format" not in content and _is_vocabulary(content):
        return BPETokenizer.from_vocab_and_merges(path, _beside(path, _MERGES, "merges"))
    if content.get("format") != "handgrad-tokenizer" or content.get("version") != FORMAT_VERSION:
        raise InputError(f"{path} is not a handgrad tokenizer of version {FORMAT_VERSION}")
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{path} holds a tokenizer of unknown kind {kind!r}; choose from {', '.join(KINDS)}")
    try:
        return KINDS[kind].from_content(content)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _file_in(directory: Path) -> Path:
    for name in ("tokenizer.json", *_VOCABULARIES):
        if (directory / name).is_file():
            return directory / name
    raise InputError(f"{directory} has no tokenizer.json; give a tokenizer's file, or a directory that holds one")


def _is_vocabulary(content: dict[str, Any]) -> bool:
    """Whether this is a vocabulary of ids, as GPT-2's is."""
    return len(content) >= 256 and all(type(number) is int for number in content.values())


def _beside(path: Path, names: tuple[str, ...], what: str) -> Path:
    """The other of GPT-2's two files."""
    for name in names:
        if (path.parent / name).is_file():
            return path.parent / name
    known = "vocabulary" if what == "merges" else "merges"
    raise InputError(
        f"{path} holds the {known} of a byte-pair encoding like GPT-2's, which also needs its {what}: put "
        f"{' or '.join(names)} beside it"
    )
