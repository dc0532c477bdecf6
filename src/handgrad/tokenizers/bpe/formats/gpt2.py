"""GPT-2's two files: ``vocab.json`` and ``merges.txt``."""

from pathlib import Path
from typing import Any

from handgrad.system.errors import InputError
from handgrad.system.files import read_json, read_text, write_atomically, write_json
from handgrad.tokenizers.bpe.byte_pairs import BYTES, BytePairs, as_printable, from_printable, read_merges
from handgrad.tokenizers.bpe.formats.vocabularies import merge_lines_for, vocabulary_of
from handgrad.tokenizers.bpe.learning import Merge

_MERGES_VERSION = "#version: 0.2"


def write_vocab_and_merges(pairs: BytePairs, directory: Path) -> None:
    """Writes ``vocab.json`` and ``merges.txt``. Raises InputError if they cannot express this encoding."""
    lines = [_MERGES_VERSION, *merge_lines_for("merges.txt", pairs)]
    vocabulary = vocabulary_of(pairs)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "vocab.json", vocabulary)
    write_atomically(directory / "merges.txt", ("\n".join(lines) + "\n").encode())


def read_vocab_and_merges(vocab: Path, merges: Path, pattern: str) -> BytePairs:
    """Reads GPT-2's two files. Raises InputError if they are damaged or do not belong together."""
    vocabulary = read_json(vocab)
    lines = [line.rstrip("\r") for line in read_text(merges).split("\n")]
    if lines[0].startswith("#version"):
        lines = lines[1:]
    while lines and not lines[-1].strip():
        lines.pop()
    try:
        learned = read_merges(lines)
        ids, special_tokens = _told_apart(vocabulary, learned)
        return BytePairs(pattern, special_tokens, ids, learned)
    except InputError as error:
        raise InputError(f"{vocab} and {merges} cannot be used: {error}") from None


def _told_apart(vocabulary: dict[str, Any], merges: tuple[Merge, ...]) -> tuple[dict[bytes, int], dict[str, int]]:
    """(parts, special tokens): a token is special if it is not a byte and no merge makes it."""
    parts = {as_printable(part) for part in (*BYTES, *(left + right for left, right in merges))}
    if missing := sorted(as_printable(byte) for byte in BYTES if as_printable(byte) not in vocabulary):
        raise InputError(f"{len(missing)} of the 256 bytes have no id, the first of them {missing[0]!r}")
    ids = {from_printable(text): number for text, number in vocabulary.items() if text in parts}
    return ids, {text: number for text, number in vocabulary.items() if text not in parts}
