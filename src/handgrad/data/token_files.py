"""Texts as token files: written once, then memory-mapped.

A directory holds ``train.npy`` and ``validation.npy`` (one-dimensional, uint16 or uint32, NumPy's own format, whose
header says which), the ``tokenizer.json`` that made them and a side file, ``meta.json``, that says so.
"""

import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from handgrad.arrays import Array
from handgrad.data.corpora import Corpus
from handgrad.errors import InputError
from handgrad.files import read_json, write_atomically, write_json
from handgrad.tokenizers import Tokenizer, load_tokenizer

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Meta:
    """What the side file says."""

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
    """Whether decoding gives the validation text back: only then are bits per character comparable."""
    version: int = FORMAT_VERSION


@dataclass(frozen=True)
class TokenData:
    """A corpus in tokens, ready to train on: two memory-mapped arrays, their tokenizer, and what is known of them."""

    train: Array
    validation: Array
    tokenizer: Tokenizer
    meta: Meta

    @property
    def tokens_per_character(self) -> float | None:
        """Of the validation text; None where the tokenizer loses some of it, which leaves nothing to compare."""
        if not self.meta.validation_lossless or not self.meta.validation_characters:
            return None
        return self.meta.validation_tokens / self.meta.validation_characters

    def check_length(self, block_size: int) -> None:
        """Raises InputError where a part is too short to take one window of block_size and its next token from."""
        for name, part in (("training", self.train), ("validation", self.validation)):
            if len(part) < block_size + 1:
                raise InputError(
                    f"the text ({self.meta.source}) is too short: its {name} part has {len(part)} tokens, and "
                    f"block_size {block_size} needs {block_size + 1}; give at least {self._least_length(block_size)} "
                    "characters or a smaller block_size"
                )

    def _least_length(self, block_size: int) -> int:
        """The least characters of a text whose last tenth holds block_size + 1 tokens, by the tokens of this one's."""
        tokens = self.meta.train_tokens + self.meta.validation_tokens
        characters = self.meta.train_characters + self.meta.validation_characters
        per_token = characters / tokens if tokens else 1.0
        return 10 * math.ceil((block_size + 1) * per_token - 1) + 1


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer) -> TokenData:
    """Both parts of a corpus in the tokens of a trained tokenizer, in memory."""
    train, validation = corpus.split()
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    train_ids, validation_ids = tokenizer.encode(train), tokenizer.encode(validation)
    meta = Meta(
        source=corpus.source,
        corpus_sha256=corpus.sha256,
        tokenizer_kind=tokenizer.kind,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        dtype=np.dtype(dtype).name,
        train_tokens=len(train_ids),
        train_characters=len(train),
        validation_tokens=len(validation_ids),
        validation_characters=len(validation),
        validation_lossless=tokenizer.decode(validation_ids) == validation,
    )
    return TokenData(train_ids.astype(dtype), validation_ids.astype(dtype), tokenizer, meta)


def write_token_files(directory: Path, data: TokenData) -> None:
    """Writes token files, their tokenizer and, last, the side file that makes the directory one of these."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_array(directory / "train.npy", data.train)
    _write_array(directory / "validation.npy", data.validation)
    data.tokenizer.save(directory / "tokenizer.json")
    write_json(directory / "meta.json", asdict(data.meta))


def open_token_files(directory: Path) -> TokenData:
    """Opens what ``write_token_files`` wrote.

    Raises InputError where the directory is not one of these, or its files do not belong together.
    """
    if not (directory / "meta.json").is_file():
        raise InputError(f"{directory} is not a directory of token files: it has no meta.json")
    content = read_json(directory / "meta.json")
    hints = get_type_hints(Meta)
    if set(content) != set(hints) or any(type(content[name]) is not hint for name, hint in hints.items()):
        raise InputError(f"{directory / 'meta.json'} does not have the fields of version {FORMAT_VERSION}")
    meta = Meta(**content)
    if meta.version != FORMAT_VERSION:
        raise InputError(f"{directory} holds token files of version {meta.version}, not {FORMAT_VERSION}")
    tokenizer = load_tokenizer(directory / "tokenizer.json")
    if (tokenizer.sha256, tokenizer.vocab_size) != (meta.tokenizer_sha256, meta.vocab_size):
        raise InputError(f"{directory / 'tokenizer.json'} is not the tokenizer that made the token files beside it")
    train = _open_array(directory / "train.npy", meta.train_tokens, meta)
    validation = _open_array(directory / "validation.npy", meta.validation_tokens, meta)
    return TokenData(train, validation, tokenizer, meta)


def _write_array(path: Path, ids: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, ids, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def _open_array(path: Path, length: int, meta: Meta) -> Array:
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:
                raise ValueError("it is not in NumPy's format")
        ids: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can raise nearly anything in NumPy's reader
        raise InputError(f"{path} cannot be read as a token file: {error}") from None
    if ids.shape != (length,) or ids.dtype.name != meta.dtype:
        raise InputError(f"{path} holds {ids.dtype} {ids.shape}, not the {meta.dtype} ({length},) that meta.json names")
    return ids
