"""Shared by the formats with a merge list: a vocabulary of ids, and the merges as lines."""

from handgrad.system.errors import InputError
from handgrad.tokenizers.bpe.byte_pairs import BytePairs, as_printable


def merge_lines_for(what: str, pairs: BytePairs) -> list[str]:
    """The merges as lines of ``what``. Raises InputError if the tokenizer has no list of merges."""
    if pairs.ranked:
        raise InputError(f"a tokenizer with tiktoken's ranks has no list of merges, which {what} needs")
    return pairs.merge_lines()


def vocabulary_of(pairs: BytePairs) -> dict[str, int]:
    """The ids of special tokens and parts, in order. Raises InputError if a part looks like a special token."""
    parts = {as_printable(part): number for part, number in pairs.ids.items()}
    if both := sorted(set(parts) & set(pairs.special_tokens)):
        raise InputError(f"{both[0]!r} is both a special token and a part of text; this format cannot distinguish them")
    return dict(sorted({**pairs.special_tokens, **parts}.items(), key=lambda item: item[1]))
