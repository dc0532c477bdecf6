"""Texts as token files: written once, then memory-mapped.

A directory holds ``train.npy`` and ``validation.npy`` (one-dimensional, uint16 or uint32, in NumPy's own format), the
``tokenizer.json`` that made them, and ``meta.json``, which describes them.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.format import dtype_to_descr, magic, write_array_header_1_0

from handgrad.data.checksums import BlockChecksums
from handgrad.data.corpora import Corpus
from handgrad.data.document_windows import DocumentWindows
from handgrad.system.arrays import Array
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import read_json, replacing, write_json
from handgrad.tokenizers import Tokenizer, load_tokenizer

FORMAT_VERSION = 1
TRAIN, VALIDATION = "train.npy", "validation.npy"
_CHECKED_AT_A_TIME = 1 << 16
_HASHED_AT_A_TIME = 1 << 22
_FIRST_TOKENS = 8
_SEARCHED = 1 << 22
"""Tokens of an older text in which the end of a document is looked for."""
_LATER = ("documents",)
"""Fields of ``meta.json`` that are written only if they differ from their defaults, as older files have none."""
_MAGIC = magic(1, 0)
"""The first bytes of version 1.0 of the format, whose header has at most 64 KiB; a later version's may claim 4 GiB."""


@dataclass(frozen=True)
class Meta:
    """The content of ``meta.json``."""

    source: str
    corpus_sha256: str
    tokenizer_kind: str
    tokenizer_sha256: str
    vocab_size: int
    dtype: str
    train_tokens: int
    train_characters: int
    validation_tokens: int
    validation_characters: int
    validation_lossless: bool
    """Whether decoding restores the validation text. Only then are bits per character comparable."""
    version: int = FORMAT_VERSION
    train_sha256: str = ""
    """The hash of the ids as they lie in the file; empty in older files, which did not store it."""
    validation_sha256: str = ""
    documents: str = ""
    """What a document is if there are several, with <eos> between them: "files"; empty if there is only one."""


@dataclass(frozen=True)
class TokenData:
    """A corpus in tokens, ready to train on: two arrays (memory-mapped if read from files), tokenizer and facts."""

    train: Array
    validation: Array
    tokenizer: Tokenizer
    meta: Meta

    @property
    def tokens_per_character(self) -> float | None:
        """For the validation text; None if the tokenizer loses some of it, as the rate is then not comparable."""
        if not self.meta.validation_lossless or not self.meta.validation_characters:
            return None
        return self.meta.validation_tokens / self.meta.validation_characters

    @property
    def documents(self) -> str:
        """What a document is if the text has several: files, lines or jsonl; empty if it has one.

        Older token files do not say it; there, the token between documents shows it.
        """
        end = self.tokenizer.eos_id
        return self.meta.documents or ("files" if end is not None and end in self.train[:_SEARCHED] else "")

    @property
    def end(self) -> int:
        """The token between documents. Raises InputError if the text has no documents, or if none of them has text."""
        end = self.tokenizer.eos_id
        if end is None or not (self.train == end).any():
            raise InputError(
                f"boundaries respect needs a text of several documents, and {self.meta.source} is only one; say what a "
                "document is, for example with --documents lines"
            )
        return end

    def windows(self, part: Array, block_size: int) -> DocumentWindows:
        """The documents of one of both parts, as windows. Raises InputError if the text has no documents."""
        windows = DocumentWindows(part, self.end, block_size)
        if not windows.n_windows:
            name = "training" if part is self.train else "validation"
            raise InputError(f"the {name} part of {self.meta.source} has no document")
        return windows

    def targets_per_character(self, boundaries: str) -> float | None:
        """How many tokens the model predicts for each character of the validation text.

        Padding and ends of documents are not characters. None if the tokenizer loses a part of the text, because the
        rate is then not comparable.
        """
        if boundaries == "ignore" or self.tokens_per_character is None:
            return self.tokens_per_character
        return self.windows(self.validation, 1).n_targets / self.meta.validation_characters

    @property
    def why_no_bits(self) -> str | None:
        """Why there are no bits per character, and what helps; None if there are some."""
        if self.tokens_per_character is not None:
            return None
        return why_not_lossless(self.tokenizer, self.validation, "the validation text")

    @property
    def begins(self) -> list[int]:
        """The ids of the first characters of the training text, as few as are whole characters; none if it is empty."""
        special = set(self.tokenizer.special_ids)
        first = [number for number in self.train[:_FIRST_TOKENS].tolist() if number not in special]
        for length in range(1, len(first) + 1):
            if "\ufffd" not in self.tokenizer.decode(first[:length]):
                return first[:length]
        return first[:1]

    def check_length(self, block_size: int, boundaries: str = "ignore") -> None:
        """Raises InputError if a part is too short for one window of block_size and its next token.

        With ``boundaries`` respect, raises it if there are no documents: these may be shorter.
        """
        if boundaries == "respect":
            for part in (self.train, self.validation):
                self.windows(part, block_size)
            return
        for name, part in (("training", self.train), ("validation", self.validation)):
            if len(part) < block_size + 1:
                # Longer texts have longer byte pairs: only for characters does the length of this one tell enough.
                is_enough = f"at least {self._least_length(block_size)} characters"
                raise InputError(
                    f"the text ({self.meta.source}) is too short: its {name} part has {len(part)} tokens, and "
                    f"block_size {block_size} needs {block_size + 1}; give "
                    f"{is_enough if self.tokenizer.kind == 'char' else 'a longer text, a smaller vocab_size'} or a "
                    "smaller block_size"
                )

    def check_content(self) -> tuple[BlockChecksums, BlockChecksums]:
        """Raises InputError if the ids differ from those written, or if one is outside the vocabulary.

        Returns checksums of both parts, which find what changes later.
        """
        checksums = []
        for name, part in (("train", self.train), ("validation", self.validation)):
            written = getattr(self.meta, f"{name}_sha256")
            of_blocks, found = BlockChecksums.of(part, f"{name} token file of {self.meta.source}")
            checksums.append(of_blocks)
            if written and found != written:
                raise InputError(
                    f"the {name} token file of {self.meta.source} is damaged: it does not have the SHA-256 that "
                    "meta.json names"
                )
            self.check_ids(part)
        train, validation = checksums
        return train, validation

    def check_ids(self, ids: Array) -> None:
        """Raises InputError if one of these ids, read from the token files, is outside the vocabulary."""
        if ids.size and (largest := int(ids.max())) >= self.meta.vocab_size:
            raise InputError(
                f"the token files of {self.meta.source} are damaged: they hold the id {largest}, and the vocabulary "
                f"ends at {self.meta.vocab_size - 1}"
            )

    def _least_length(self, block_size: int) -> int:
        """Characters that a text needs for block_size + 1 tokens in its last tenth, at this text's token length."""
        tokens = self.meta.train_tokens + self.meta.validation_tokens
        characters = self.meta.train_characters + self.meta.validation_characters
        per_token = characters / tokens if tokens else 1.0
        return 10 * math.ceil((block_size + 1) * per_token - 1) + 1


@dataclass(frozen=True)
class Encoded:
    """A text in tokens. ``lossless`` is False only if it was checked and decoding does not restore the text."""

    ids: Array
    characters: int
    unknown: int
    lossless: bool = True
    unknown_text: Mapping[str, int] = field(default_factory=dict)
    """How often each unknown character occurs."""


@dataclass
class Tally:
    """Totals over the parts of a text."""

    tokens: int = 0
    characters: int = 0
    unknown: int = 0
    lossless: bool = True
    unknown_text: Counter[str] = field(default_factory=Counter)
    """How often each unknown character occurs."""

    def add(self, part: Encoded) -> None:
        """Adds one part."""
        self.tokens += len(part.ids)
        self.characters += part.characters
        self.unknown += part.unknown
        self.lossless &= part.lossless
        self.unknown_text.update(part.unknown_text)


def encode_text(tokenizer: Tokenizer, text: str, check: bool, goes_on: bool = False) -> Encoded:
    """A text in tokens, as token files hold them. ``check``: find out whether decoding restores the text.

    ``goes_on``: the text continues another.
    """
    ids = tokenizer.encode_on(text) if goes_on else tokenizer.encode(text)
    lossless = not check or _is_lossless(tokenizer, ids, text)
    unknown = count_unknown(tokenizer, ids)
    lost = _unknown_characters(tokenizer, ids, text) if unknown else {}
    return Encoded(ids.astype(token_dtype(tokenizer)), len(text), unknown, lossless, lost)


def _unknown_characters(tokenizer: Tokenizer, ids: Array, text: str) -> Mapping[str, int]:
    """How often each character occurs that the ids do not give back."""
    lost = Counter(text)
    lost.subtract(Counter(tokenizer.decode(ids[ids != tokenizer.unk_id])))
    return +lost


def token_dtype(tokenizer: Tokenizer) -> np.dtype[np.unsignedinteger]:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)


def count_unknown(tokenizer: Tokenizer, ids: Array) -> int:
    """How many of the ids stand for unknown text; 0 if the tokenizer has no id for it."""
    return 0 if tokenizer.unk_id is None else int(np.count_nonzero(ids == tokenizer.unk_id))


def why_not_lossless(tokenizer: Tokenizer, ids: Array, what: str) -> str:
    """Why a text that these ids do not restore has no bits per character, and what helps."""
    unknown = count_unknown(tokenizer, ids)
    if not len(ids):
        return f"bits per character are not comparable: {what} is empty"
    if not unknown:
        return f"bits per character are not comparable: the {tokenizer.kind} tokenizer does not restore {what} exactly"
    kind = {"char": "characters", "word": "words"}.get(tokenizer.kind, "parts")
    return (
        f"bits per character are not comparable: the tokenizer does not know {unknown:,} of the {len(ids):,} {kind} of "
        f"{what}, and a model is not measured by what it does not see; train with --byte-fallback or "
        "--tokenizer bpe, which know every text"
    )


def describe(
    source: str,
    corpus_sha256: str,
    tokenizer: Tokenizer,
    train: Tally,
    validation: Tally,
    hashes: tuple[str, str],
    documents: str = "",
) -> Meta:
    """The content of ``meta.json`` for a text's two parts; ``hashes`` are those of their ids."""
    return Meta(
        source=source,
        corpus_sha256=corpus_sha256,
        tokenizer_kind=tokenizer.kind,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        dtype=token_dtype(tokenizer).name,
        train_tokens=train.tokens,
        train_characters=train.characters,
        validation_tokens=validation.tokens,
        validation_characters=validation.characters,
        validation_lossless=validation.lossless,
        train_sha256=hashes[0],
        validation_sha256=hashes[1],
        documents=documents,
    )


def sha256_of(ids: Array) -> str:
    """The hash of ids as they lie in memory or in a file, a few megabytes at a time."""
    found = hashlib.sha256()
    for start in range(0, len(ids), _HASHED_AT_A_TIME):
        found.update(np.ascontiguousarray(ids[start : start + _HASHED_AT_A_TIME]).data)
    return found.hexdigest()


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer) -> TokenData:
    """Both parts of a corpus, encoded in memory by a trained tokenizer."""
    train_text, validation_text = corpus.split()
    train, validation = encode_text(tokenizer, train_text, False), encode_text(tokenizer, validation_text, True)
    tallies = Tally(), Tally()
    for tally, part in zip(tallies, (train, validation), strict=True):
        tally.add(part)
    hashes = sha256_of(train.ids), sha256_of(validation.ids)
    meta = describe(corpus.source, corpus.sha256, tokenizer, *tallies, hashes)
    return TokenData(train.ids, validation.ids, tokenizer, meta)


def write_token_files(directory: Path, data: TokenData) -> None:
    """Writes token files, their tokenizer and, last, ``meta.json``, which marks the directory as complete."""
    directory.mkdir(parents=True, exist_ok=True)
    write_ids(directory / TRAIN, data.train.dtype, [data.train])
    write_ids(directory / VALIDATION, data.validation.dtype, [data.validation])
    write_the_rest(directory, data.tokenizer, data.meta)


def write_ids(path: Path, dtype: np.dtype[np.unsignedinteger], parts: Iterable[Array]) -> str:
    """Writes a token file part by part, with the same bytes as ``np.save`` of the whole; whole or not at all.

    Returns the SHA-256 of the ids.
    """
    found = hashlib.sha256()
    with replacing(path) as file:
        length, count = _write_header(file, dtype, 0), 0
        for ids in parts:
            content = np.ascontiguousarray(ids, dtype).data
            file.write(content)
            found.update(content)
            count += len(ids)
        file.seek(0)
        rewritten = _write_header(file, dtype, count)
        assert rewritten == length, "NumPy's header no longer has room for a longer array"
    return found.hexdigest()


def write_the_rest(directory: Path, tokenizer: Tokenizer, meta: Meta) -> None:
    """Writes the tokenizer and, last, ``meta.json``: if it exists, the directory is complete."""
    tokenizer.save(directory / "tokenizer.json")
    content = asdict(meta)
    later = {name: value for name, value in content.items() if name in _LATER and value == getattr(Meta, name)}
    write_json(directory / "meta.json", {name: content[name] for name in content if name not in later})


def open_token_files(directory: Path) -> TokenData:
    """Opens what ``write_token_files`` wrote.

    Raises InputError if the directory holds no token files, or if its files do not belong together.
    """
    if not (directory / "meta.json").is_file():
        raise InputError(f"{directory} is not a directory of token files: it has no meta.json")
    content = read_json(directory / "meta.json")
    try:
        meta = dataclass_from_json(Meta, content)
    except ValueError as error:
        raise InputError(f"{directory / 'meta.json'} does not describe token files: {error}") from None
    if meta.version != FORMAT_VERSION:
        raise InputError(f"{directory} holds token files of version {meta.version}, not {FORMAT_VERSION}")
    tokenizer = load_tokenizer(directory / "tokenizer.json")
    if (tokenizer.sha256, tokenizer.vocab_size) != (meta.tokenizer_sha256, meta.vocab_size):
        raise InputError(f"{directory / 'tokenizer.json'} is not the tokenizer that made the token files beside it")
    train = _open_array(directory / TRAIN, meta.train_tokens, meta)
    validation = _open_array(directory / VALIDATION, meta.validation_tokens, meta)
    return TokenData(train, validation, tokenizer, meta)


def _is_lossless(tokenizer: Tokenizer, ids: Array, text: str) -> bool:
    """Whether decoding the ids restores the text. Checks a few ids at a time, as Python integers take much memory."""
    content, place = text.encode("utf-8", "surrogatepass"), 0
    for start in range(0, len(ids), _CHECKED_AT_A_TIME):
        decoded = tokenizer.decode_bytes(ids[start : start + _CHECKED_AT_A_TIME])
        if not content.startswith(decoded, place):
            return False
        place += len(decoded)
    return place == len(content)


def _write_header(file: BinaryIO, dtype: np.dtype[np.unsignedinteger], count: int) -> int:
    """Writes the header of an array of ``count`` numbers; returns where it ends."""
    header = {"descr": dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    write_array_header_1_0(file, header)
    return file.tell()


def _open_array(path: Path, length: int, meta: Meta) -> Array:
    """The array in a token file, memory-mapped, after a check of its size and dtype against ``meta.json``."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("it is not in version 1.0 of NumPy's format")
        ids: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can raise nearly anything in NumPy's reader
        raise InputError(f"{path} cannot be read as a token file: {error}") from None
    if ids.shape != (length,) or ids.dtype.name != meta.dtype:
        raise InputError(f"{path} holds {ids.dtype} {ids.shape}, not the {meta.dtype} ({length},) that meta.json names")
    return ids
