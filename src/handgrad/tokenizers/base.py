"""The interface of all tokenizers, and the special tokens that they start with."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.files import write_atomically
from handgrad.tokenizers.counting import PieceCounts, texts_in_groups, utf8

SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>")
FORMAT_VERSION = 1
# The tokens that end a document, in our vocabularies and in other libraries'.
_ENDS = ("<eos>", "<|endoftext|>", "</s>")


class Tokenizer(ABC):
    """Text to ids and back.

    Special tokens stand for no text. ``<pad> <unk> <bos> <eos>`` have the ids 0 to 3; users' own follow. If the name of
    a special token occurs in a text, it is encoded as plain text, unless ``allow_special`` allows it.
    """

    kind: str

    def __init__(self, special_tokens: Iterable[str] = ()) -> None:
        own = [special_tokens] if isinstance(special_tokens, str) else list(special_tokens)
        check_special_tokens(own)
        self._special = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *own))}
        if len(self._special) < len(SPECIAL_TOKENS) + len(own):
            twice = next(token for token, count in Counter((*SPECIAL_TOKENS, *own)).items() if count > 1)
            raise InputError(f"the special token {twice!r} occurs twice ({', '.join(SPECIAL_TOKENS)} are always there)")

    def train(self, texts: str | Iterable[str]) -> Self:
        """Learns the vocabulary from one or more texts, replacing any earlier vocabulary; returns itself.

        The texts may together be larger than memory. Training keeps only the counts of their pieces, and once the
        different pieces exceed some megabytes, only the most frequent.
        """
        counts = PieceCounts()
        for batch in texts_in_groups([texts] if isinstance(texts, str) else texts):
            counts.add(self.count(batch))
        return self.learn(counts)

    @abstractmethod
    def count(self, texts: Sequence[str]) -> Counter[str]:
        """How often each piece (character, word) occurs in these texts. Each text is cut by itself."""

    @abstractmethod
    def learn(self, counts: Mapping[str, int]) -> Self:
        """Learns the vocabulary from the counts of ``count``, replacing any earlier vocabulary; returns itself."""

    def encode(self, text: str, *, allow_special: bool | Collection[str] = False) -> Array:
        """The ids of a text, int32 (n,).

        ``allow_special``: which special tokens get their own id if they occur in the text: all (True), none (False), or
        those named. If several begin at the same place, the longest wins.

        Raises InputError if a name is not among ``special_tokens``.
        """
        if not allow_special:
            return self._encode(text)
        parts = [
            np.array([self._special[section]], dtype=np.int32) if is_special else self._encode(section)
            for section, is_special in self._sections(text, allow_special)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def encode_on(self, text: str) -> Array:
        """The ids of a text that continues another, if no piece spans both. Special tokens are plain text."""
        return self._encode(text)

    @abstractmethod
    def _encode(self, text: str) -> Array:
        """The ids of a text, with special tokens as plain text."""

    def _sections(self, text: str, allow_special: bool | Collection[str]) -> Iterator[tuple[str, bool]]:
        """The text cut at the allowed special tokens: (section, whether it is a special token)."""
        named = [allow_special] if isinstance(allow_special, str) else allow_special
        allowed = set(self._special) if isinstance(named, bool) else set(named)
        if unknown := sorted(allowed - set(self._special)):
            names = ", ".join(self._special) or "none"
            raise InputError(f"{unknown[0]!r} is not a special token; this tokenizer has {names}")
        pattern = "|".join(re.escape(token) for token in sorted(allowed, key=len, reverse=True))
        sections = re.split(f"({pattern})", text) if pattern else [text]
        for number, section in enumerate(sections):
            if section:
                yield section, number % 2 == 1

    def decode(self, ids: Iterable[int] | Array, *, errors: str = "replace") -> str:
        """The text of ids. Bytes that are not UTF-8, as when a character is cut in two, become U+FFFD.

        With ``errors="strict"`` they raise InputError, which names the id. Raises IndexError for an id outside the
        vocabulary, InputError for numbers that are no ids.
        """
        if errors not in ("replace", "strict"):
            raise InputError(f"errors must be replace or strict, not {errors!r}")
        return self._decoded(self._checked(ids), errors)

    def _decoded(self, numbers: list[int], errors: str) -> str:
        """The text of ids that are all in the vocabulary."""
        pieces = [self._bytes_of(i) for i in numbers]
        try:
            return b"".join(pieces).decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise InputError(_not_utf8(error, numbers, pieces)) from None

    def decode_bytes(self, ids: Iterable[int] | Array) -> bytes:
        """The UTF-8 of ids; it may cut characters in two. Raises IndexError for an id outside the vocabulary."""
        return b"".join([self._bytes_of(i) for i in self._checked(ids)])

    @abstractmethod
    def _bytes_of(self, number: int) -> bytes:
        """The bytes that one id stands for."""

    def _checked(self, ids: Iterable[int] | Array) -> list[int]:
        """The ids as a list. Raises IndexError for an id outside the vocabulary, as a list would accept -1.

        Raises InputError for numbers that are no integers and for anything but one row.
        """
        held = list(ids) if not isinstance(ids, np.ndarray) else ids
        try:
            numbers = np.asarray(held)
        except ValueError:  # rows of different lengths
            raise InputError("decode: ids must be one row of integers, not several rows") from None
        if numbers.ndim != 1:
            raise InputError(f"decode: ids must be one row of integers, not of shape {numbers.shape}")
        if numbers.dtype.kind not in "iu" and numbers.size:
            wrong = [i for i in held if isinstance(i, bool) or not isinstance(i, int | np.integer)]
            if wrong:  # otherwise they are integers beyond 64 bits
                raise InputError(f"decode: ids must be integers, not {str(wrong[0])[:80]}")
        outside = numbers[(numbers < 0) | (numbers >= self.vocab_size)]
        if outside.size:
            raise IndexError(f"decode: id {str(outside[0])[:40]} is outside the vocabulary of {self.vocab_size} tokens")
        checked: list[int] = numbers.tolist()
        return checked

    def tokens(self, text: str, *, allow_special: bool | Collection[str] = False) -> list[str]:
        """The tokens of a text, as readable strings; bytes that are not whole characters are shown as <E2>."""
        return [self.token(i) for i in self.encode(text, allow_special=allow_special).tolist()]

    def token(self, number: int) -> str:
        """The token with this id, as a readable string. Raises IndexError for an id outside the vocabulary."""
        return shown(self.decode_bytes([number]))

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """The number of ids, including the special tokens."""

    @property
    def releases_the_lock(self) -> bool:
        """Whether several threads can encode large texts at once."""
        return False

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens and their ids."""
        return dict(self._special)

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that stand for no text."""
        return tuple(self._special.values())

    @property
    def unk_id(self) -> int | None:
        """The id for unknown text; None in other libraries' vocabularies without <unk>."""
        return self._special.get("<unk>")

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document; None in other libraries' vocabularies without such a token."""
        return next((self._special[token] for token in _ENDS if token in self._special), None)

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """What distinguishes this tokenizer from others of its kind, as JSON values."""

    def _special_content(self) -> dict[str, Any]:
        """The special tokens for the file; empty if there are only the default ones."""
        return {} if tuple(self._special) == SPECIAL_TOKENS else {"special_tokens": list(self._special)}

    def to_bytes(self) -> bytes:
        """The content of the file that ``save`` writes: JSON in UTF-8, the same for equal tokenizers."""
        content = {"format": "handgrad-tokenizer", "version": FORMAT_VERSION, "kind": self.kind, **self._content()}
        return (json.dumps(content, ensure_ascii=True, indent=1) + "\n").encode()

    @property
    def sha256(self) -> str:
        """The hash of ``to_bytes``, which identifies this tokenizer."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes the tokenizer as JSON; ``load_tokenizer`` reads it."""
        write_atomically(Path(path), self.to_bytes())

    def to_huggingface(self, path: str | Path) -> None:
        """Writes a ``tokenizer.json`` of Hugging Face's ``tokenizers``. Raises InputError if that cannot express it."""
        raise InputError(f"only byte-pair encodings can be written as {path}; this is a {self.kind} tokenizer")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())


def tokenizer_file(path: str | Path) -> Path:
    """The path, or its ``tokenizer.json`` if it is a directory. Raises InputError if the directory has none."""
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / "tokenizer.json").is_file():
        raise InputError(f"{path} has no tokenizer.json; give a tokenizer's file, or a directory that holds one")
    return path / "tokenizer.json"


def check_special_tokens(tokens: Iterable[str]) -> None:
    """Raises InputError for a special token that cannot occur in a text."""
    for token in tokens:
        if not token or token != utf8(token).decode():
            raise InputError(f"a special token must be a text of at least one character, not {token!r}")


def read_special_tokens(content: dict[str, Any]) -> list[str]:
    """Users' own special tokens in a tokenizer's file. Raises InputError if they are malformed."""
    tokens = content.get("special_tokens", list(SPECIAL_TOKENS))
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise InputError("special_tokens must be a list of strings")
    if tuple(tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise InputError(f"special_tokens must begin with {', '.join(SPECIAL_TOKENS)}")
    return tokens[len(SPECIAL_TOKENS) :]


def read_flag(content: Mapping[str, Any], name: str) -> bool:
    """A boolean in a tokenizer's file, False if it is missing. Raises InputError for anything else."""
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {value!r}")
    return value


def shown(part: bytes) -> str:
    """Bytes as a readable string: text if they are valid UTF-8, else each byte as <E2>."""
    try:
        return part.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in part)


def _not_utf8(error: UnicodeDecodeError, numbers: list[int], pieces: list[bytes]) -> str:
    ends = accumulate(len(piece) for piece in pieces)
    place = next(place for place, end in enumerate(ends) if end > error.start)
    wrong = " ".join(f"{byte:02X}" for byte in error.object[error.start : error.end])
    return (
        f"decode: the bytes {wrong} are not UTF-8 ({error.reason}), starting in id {numbers[place]} at position {place}"
    )
