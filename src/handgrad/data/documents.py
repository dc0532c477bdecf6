"""Documents on the disk, which together may be larger than memory: found, read once, cut into chunks."""

import codecs
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from handgrad.system.errors import InputError
from handgrad.system.files import naming, not_utf8
from handgrad.tokenizers.splitting import place_to_cut

CHUNK_BYTES = 1 << 21
_LEAST_CHUNK_BYTES = 4  # the longest character in UTF-8
_SPOOLED_AT_A_TIME = 1 << 20
# Separates documents in their common hash; it never occurs in UTF-8.
_BETWEEN_DOCUMENTS = b"\xff"

Report = Callable[[str, int, int | None], None]
"""Receives the current task, how many bytes of it are done, and the total, or None if the total is unknown."""


@dataclass(frozen=True)
class Stream:
    """A text that can be read only once, such as a pipe, and its name in messages."""

    file: BinaryIO
    name: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file that can be read more than once, and its name in messages."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes ``start`` to ``stop`` of a document. They do not cut a character in two."""

    document: Document
    start: int
    stop: int
    characters: int
    checksum: int
    separated: bool = False
    """Whether another document ends right before it."""
    goes_on: bool = False
    """Whether it continues another chunk of its document, in the same part of the text."""

    @property
    def n_bytes(self) -> int:
        return self.stop - self.start

    def text(self) -> str:
        """The chunk's text. Raises InputError if the file has changed since it was surveyed."""
        with naming(self.document.name), self.document.path.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.n_bytes)
        if zlib.crc32(content) != self.checksum:
            raise InputError(f"{self.document.name} was changed while it was read; start again")
        return content.decode()

    def cut(self, characters: int) -> tuple["Chunk", "Chunk"]:
        """Its first characters, and the rest."""
        text = self.text()
        before, after = text[:characters].encode(), text[characters:].encode()
        middle = self.start + len(before)
        return (
            Chunk(self.document, self.start, middle, characters, zlib.crc32(before), self.separated, self.goes_on),
            Chunk(self.document, middle, self.stop, self.characters - characters, zlib.crc32(after)),
        )


@dataclass(frozen=True)
class Survey:
    """What the first pass over all documents finds."""

    chunks: list[Chunk]
    documents: int
    """How many documents have text."""
    sha256: str
    """The hash of all texts in UTF-8, with a byte 0xFF between documents."""

    def split(self) -> tuple[list[Chunk], list[Chunk]]:
        """(training, validation): the last 10 % of all characters are for validation. May cut a chunk in two."""
        left = sum(chunk.characters for chunk in self.chunks) * 9 // 10
        train: list[Chunk] = []
        validation: list[Chunk] = []
        for chunk in self.chunks:
            if chunk.characters <= left:
                train.append(chunk)
            elif left > 0:
                before, after = chunk.cut(left)
                train.append(before)
                validation.append(after)
            else:
                validation.append(chunk if validation else replace(chunk, separated=False, goes_on=False))
            left = max(left - chunk.characters, 0)
        return train, validation


def find_documents(texts: Sequence[Path | Stream], spool: Path, report: Report) -> list[Document]:
    """The given files, all files below the given directories, and streams, which are first copied into ``spool``.

    The files of a directory come in the order of their relative paths. Hidden ones are skipped.

    Raises InputError if a path does not exist or a directory has no files.
    """
    found: list[Document] = []
    for number, text in enumerate(texts):
        if isinstance(text, Stream):
            found.append(_spooled(text, spool / str(number), report))
        elif text.is_dir():
            below = [Document(path, str(path)) for path in _files_below(text)]
            if not below:
                raise InputError(f"{text} is a directory without files (hidden ones are skipped); a text is needed")
            found += below
        elif text.is_file():
            found.append(Document(text, str(text)))
        elif text.exists() and not text.is_fifo():
            raise InputError(f"{text} is neither a file nor a pipe; a text file is needed")
        elif text.exists():
            with naming(text), text.open("rb") as file:
                found.append(_spooled(Stream(file, str(text)), spool / str(number), report))
        else:
            raise InputError(f"{text}: no such file")
    return found


def survey(documents: Sequence[Document], report: Report, chunk_bytes: int = CHUNK_BYTES) -> Survey:
    """Reads all documents once: checks that they are UTF-8, hashes them, and finds where to cut them.

    Chunks have at most ``chunk_bytes`` and end at the end of a token: at a newline, or at white space after a letter or
    a number. A chunk without such a place is cut between any two characters.

    Raises InputError if a document is not UTF-8, or if none has text.
    """
    total = sum(document.path.stat().st_size for document in documents)
    chunks: list[Chunk] = []
    read = count = 0
    digest = hashlib.sha256()
    report("reading", 0, total)
    for document in documents:
        before = len(chunks)
        for chunk, content in _read(document, max(chunk_bytes, _LEAST_CHUNK_BYTES)):
            separated = len(chunks) == before and count > 0
            if separated:
                digest.update(_BETWEEN_DOCUMENTS)
            digest.update(content)
            chunks.append(replace(chunk, separated=separated, goes_on=len(chunks) > before))
            read += len(content)
            report("reading", read, total)
        count += len(chunks) > before
    if not chunks:
        names = documents[0].name if len(documents) == 1 else f"each of the {len(documents)} files"
        raise InputError(f"{names} is empty; a text is needed")
    return Survey(chunks, count, digest.hexdigest())


def chunks_in_groups(chunks: Iterable[Chunk], chunk_bytes: int = CHUNK_BYTES) -> Iterator[list[Chunk]]:
    """The chunks in order, as lists: consecutive short chunks are grouped up to ``chunk_bytes``."""
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        if batch and size + chunk.n_bytes > chunk_bytes:
            yield batch
            batch, size = [], 0
        batch.append(chunk)
        size += chunk.n_bytes
    if batch:
        yield batch


def _read(document: Document, chunk_bytes: int) -> Iterator[tuple[Chunk, bytes]]:
    """The chunks of a document and their bytes, without a byte order mark at its start."""
    with naming(document.name), document.path.open("rb") as file:
        start = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
        file.seek(start)
        content, at_end = b"", False
        while not at_end:
            content += file.read(chunk_bytes - len(content))
            at_end = len(content) < chunk_bytes
            try:
                text, length = codecs.utf_8_decode(content, "strict", at_end)
            except UnicodeDecodeError as error:
                raise not_utf8(document.name, error, start) from None
            if not at_end:
                place = place_to_cut(text)
                length -= len(text[place:].encode())
                text = text[:place]
            if text:
                taken = content[:length]
                yield Chunk(document, start, start + length, len(text), zlib.crc32(taken)), taken
            start += length
            content = content[length:]


def _files_below(directory: Path) -> list[Path]:
    files: list[Path] = []
    for path, directories, names in os.walk(directory, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        below = [Path(path, name) for name in names if not name.startswith(".")]
        files += [path for path in below if path.is_file()]
    return sorted(files, key=lambda path: path.relative_to(directory).as_posix())


def _spooled(stream: Stream, path: Path, report: Report) -> Document:
    with naming(path), path.open("wb") as file:
        report(f"receiving {stream.name}", 0, None)
        while content := _next_part(stream):
            file.write(content)
            report(f"receiving {stream.name}", file.tell(), None)
    return Document(path, stream.name)


def _next_part(stream: Stream) -> bytes:
    with naming(stream.name):
        return stream.file.read(_SPOOLED_AT_A_TIME)


def _raise(error: OSError) -> NoReturn:
    raise error
