"""The data of a byte-pair encoding, whether learned here or read from another library's file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from operator import itemgetter
from typing import Any, Self

from handgrad.system.errors import InputError
from handgrad.tokenizers.base import SPECIAL_TOKENS, check_special_tokens, read_flag
from handgrad.tokenizers.bpe.learning import Merge
from handgrad.tokenizers.bpe.merging import TokenPair
from handgrad.tokenizers.splitting import check_pattern

# Bytes as visible characters, as GPT-2 writes them and in GPT-2's order: printable bytes stand for themselves, the
# others become the characters from U+0100 on.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
_CHARACTER_OF = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_HIDDEN)}
_BYTE_OF = {character: byte for byte, character in _CHARACTER_OF.items()}
BYTES = tuple(bytes([byte]) for byte in (*_PRINTABLE, *_HIDDEN))
"""The 256 bytes in GPT-2's order."""

# Far more than any vocabulary has. The limit bounds the memory of the list of tokens.
_MOST_IDS = 1 << 22
_USUAL_SPECIAL_TOKENS = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
_FLAGS = ("ranked", "whole_pieces", "prefix_space")


@dataclass(frozen=True)
class BytePairs:
    """The parts and their ids, and the rules that merge two parts into one.

    A part is the bytes of a token. Raises InputError if the data is inconsistent: an id that two tokens share, a merge
    of unknown parts.
    """

    pattern: str
    special_tokens: Mapping[str, int]
    ids: Mapping[bytes, int]
    """The id of each part."""
    merges: tuple[Merge, ...] = ()
    """In the order they were learned, which is also the order they are applied in."""
    ranked: bool = False
    """tiktoken's rule: no merge list; any two parts merge if together they are a part, the lowest id first."""
    whole_pieces: bool = False
    """Whether a piece that is a part becomes that part, even if the merges do not lead there."""
    prefix_space: bool = False
    """Whether to put a space before a text that does not begin with one."""
    unknown_id: int | None = None
    """The id for a byte that is not a part; None drops such bytes. It has no effect if all bytes are parts."""

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        check_special_tokens(self.special_tokens)
        _check_ids((*self.special_tokens.items(), *((as_printable(part), number) for part, number in self.ids.items())))
        known: set[Merge] = set()
        for place, merge in enumerate(self.merges, start=1):
            words = f"merge {place}, {' '.join(map(as_printable, merge))[:80]!r},"
            if not all(part in self.ids for part in merge):
                raise InputError(f"{words} is not of two known parts")
            if merge[0] + merge[1] not in self.ids:
                raise InputError(f"{words} makes a part that has no id")
            if merge in known:
                raise InputError(f"{words} occurs twice")
            known.add(merge)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max((*self.special_tokens.values(), *self.ids.values()), default=-1) + 1

    def ranks(self) -> tuple[dict[TokenPair, int], dict[TokenPair, int]]:
        """For each pair of ids that merges: (its rank, the lowest merging first; the id that the merge makes)."""
        ids = self.ids
        if not self.ranked:
            pairs = {(ids[left], ids[right]): ids[left + right] for left, right in self.merges}
            return {pair: rank for rank, pair in enumerate(pairs)}, pairs
        made = {
            (ids[part[:i]], ids[part[i:]]): number
            for part, number in ids.items()
            for i in range(1, len(part))
            if part[:i] in ids and part[i:] in ids
        }
        return made, made

    def merge_lines(self) -> list[str]:
        """The merges as lines of a file; ``read_merges`` reads them."""
        return [f"{as_printable(left)} {as_printable(right)}" for left, right in self.merges]

    @classmethod
    def learned(cls, pattern: str, special_tokens: Mapping[str, int], merges: Iterable[Merge]) -> Self:
        """With new ids: first for the bytes, in GPT-2's order, then for the part that each merge makes."""
        merges = tuple(merges)
        return cls(pattern, special_tokens, _numbered(special_tokens, merges), merges)

    def to_content(self) -> dict[str, Any]:
        """As JSON values: the pattern, the merges, and whatever differs from the defaults."""
        content: dict[str, Any] = {"pattern": self.pattern}
        if self.special_tokens != _USUAL_SPECIAL_TOKENS:
            content["special_tokens"] = dict(self.special_tokens)
        content |= {name: True for name in _FLAGS if getattr(self, name)}
        if self.unknown_id is not None:
            content["unknown_id"] = self.unknown_id
        if self.ids != _numbered(self.special_tokens, self.merges):
            content["ids"] = dict(
                sorted(((as_printable(part), number) for part, number in self.ids.items()), key=itemgetter(1))
            )
        if not self.ranked:
            content["merges"] = self.merge_lines()
        return content

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Self:
        """From what ``to_content`` returned. Raises InputError if it is malformed."""
        pattern = content.get("pattern")
        if not isinstance(pattern, str):
            raise InputError(f"pattern must be a string, not {pattern!r}")
        special_tokens = content.get("special_tokens", _USUAL_SPECIAL_TOKENS)
        if not isinstance(special_tokens, dict):
            raise InputError("special_tokens must be an object of ids")
        _check_ids(special_tokens.items())
        unknown_id = content.get("unknown_id")
        if unknown_id is not None and (type(unknown_id) is not int or unknown_id not in special_tokens.values()):
            raise InputError(f"unknown_id must be the id of a special token, not {unknown_id!r}")
        flags = {name: read_flag(content, name) for name in _FLAGS}
        merges = () if flags["ranked"] else read_merges(content.get("merges"))
        ids = read_ids(content["ids"], "ids") if "ids" in content else _numbered(special_tokens, merges)
        return cls(pattern, special_tokens, ids, merges, **flags, unknown_id=unknown_id)


def _check_ids(names: Iterable[tuple[str, Any]]) -> None:
    """Raises InputError for an invalid id, or for an id that two tokens share."""
    named: dict[int, str] = {}
    for name, number in names:
        if type(number) is not int or not 0 <= number < _MOST_IDS:
            raise InputError(f"the id of {name[:80]!r} must be an integer from 0 to {_MOST_IDS - 1}, not {number!r}")
        if number in named:
            raise InputError(f"{named[number][:80]!r} and {name[:80]!r} have the same id, {number}")
        named[number] = name


def _numbered(special_tokens: Mapping[str, int], merges: Iterable[Merge]) -> dict[bytes, int]:
    """Ids for the bytes and for the parts that merges make, in order, from the lowest free id on."""
    parts = dict.fromkeys((*BYTES, *(left + right for left, right in merges)))
    taken = set(special_tokens.values())
    return dict(zip(parts, (i for i in count() if i not in taken)))  # noqa: B905 - the ids never end


def read_merges(merges: Any) -> tuple[Merge, ...]:
    """Merges as files store them: "left right" or ["left", "right"] in GPT-2's characters.

    Raises InputError if they are malformed.
    """
    if not isinstance(merges, list):
        raise InputError("merges must be a list")
    found: list[Merge] = []
    for place, merge in enumerate(merges, start=1):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) and part for part in pair)):
            raise InputError(f"merge {place}, {str(merge)[:80]!r}, is not of two parts")
        found.append((from_printable(pair[0]), from_printable(pair[1])))
    return tuple(found)


def read_ids(ids: Any, name: str) -> dict[bytes, int]:
    """A vocabulary as files store it: ids by parts in GPT-2's characters. Raises InputError if it is malformed."""
    if not isinstance(ids, dict):
        raise InputError(f"{name} must be an object of ids")
    return {from_printable(part): number for part, number in ids.items()}


def as_printable(part: bytes) -> str:
    """Bytes in GPT-2's characters."""
    return "".join(map(_CHARACTER_OF.__getitem__, part))


def from_printable(part: str) -> bytes:
    """The bytes that GPT-2's characters stand for. Raises InputError for any other character."""
    try:
        return bytes(map(_BYTE_OF.__getitem__, part))
    except KeyError as error:
        raise InputError(
            f"{part[:80]!r} is not written in GPT-2's characters for bytes: {error.args[0]!r} is not one of them"
        ) from None
