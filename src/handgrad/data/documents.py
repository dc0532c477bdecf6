"""Documents on the disk, which together may be larger than memory: read once, and cut into chunks."""

import codecs
import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from handgrad.system.encodings import not_utf8
from handgrad.system.errors import InputError
from handgrad.system.files import naming
from handgrad.tokenizers.splitting import place_to_cut

CHUNK_BYTES = 1 << 21
_LEAST_CHUNK_BYTES = 4  # the longest character in UTF-8
BETWEEN_DOCUMENTS = b"\xff"
"""Separates documents in one file, and in their common hash. It never occurs in UTF-8."""
DEFAULT_FRACTION = 0.1
"""Of the characters, for validation."""

Report = Callable[[str, int, int | None], None]
"""Receives the current task, how many bytes of it are done, and the total, or None if the total is unknown."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file that can be read more than once, and its name in messages."""

    path: Path
    name: str
    packed: bool = False
    """Whether the file holds many documents, with a byte 0xFF between them."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes ``start`` to ``stop`` of a document. They do not cut a character in two.

    In a file that holds many documents they may be several documents, with a byte 0xFF between them.
    """

    document: Document
    start: int
    stop: int
    characters: int
    """Without the bytes between documents."""
    checksum: int
    separated: bool = False
    """Whether another document ends right before it."""
    goes_on: bool = False
    """Whether it continues another chunk of its document, in the same part of the text."""

    @property
    def n_bytes(self) -> int:
        return self.stop - self.start

    def text(self) -> str:
        """The chunk's text, if it is one document's. Raises InputError if the file has changed since the survey."""
        return self._content().decode()

    def texts(self) -> list[str]:
        """The text of each document in the chunk. Raises InputError if the file has changed since it was surveyed."""
        content = self._content()
        if not self.document.packed:
            return [content.decode()]
        return [part.decode() for part in content.split(BETWEEN_DOCUMENTS)]

    def _content(self) -> bytes:
        with naming(self.document.name), self.document.path.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.n_bytes)
        if zlib.crc32(content) != self.checksum:
            raise InputError(f"{self.document.name} was changed while it was read; start again")
        return content

    def cut_between(self, characters: int, at_least_one: bool) -> tuple["Chunk | None", "Chunk | None"]:
        """The first documents, of at most so many characters in all, and the others.

        ``at_least_one``: take the first document even if it has more characters.
        """
        parts = self._content().split(BETWEEN_DOCUMENTS)
        count = taken = 0
        for part in parts:
            length = len(part.decode())
            if taken + length > characters and not (count == 0 and at_least_one):
                break
            taken, count = taken + length, count + 1
        before, after = BETWEEN_DOCUMENTS.join(parts[:count]), BETWEEN_DOCUMENTS.join(parts[count:])
        middle = self.stop - len(after)
        first = Chunk(
            self.document, self.start, self.start + len(before), taken, zlib.crc32(before), self.separated, self.goes_on
        )
        rest = Chunk(self.document, middle, self.stop, self.characters - taken, zlib.crc32(after))
        return first if count else None, rest if count < len(parts) else None

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
    windows: int = 0
    """How many documents have the line ends of Windows, as far as their beginnings show."""

    def split(self, fraction: float = DEFAULT_FRACTION) -> tuple[list[Chunk], list[Chunk]]:
        """(training, validation): the last ``fraction`` of all characters are for validation.

        May cut a chunk in two: between documents if it holds many, otherwise anywhere.
        """
        left = characters_before(sum(chunk.characters for chunk in self.chunks), fraction)
        train: list[Chunk] = []
        validation: list[Chunk] = []
        for chunk in self.chunks:
            if chunk.characters <= left:
                train.append(chunk)
            elif left > 0 and chunk.document.packed:
                first, rest = chunk.cut_between(left, at_least_one=not train)
                train += [first] if first else []
                validation += [rest] if rest else []
            elif left > 0:
                before, after = chunk.cut(left)
                train.append(before)
                validation.append(after)
            else:
                validation.append(chunk if validation else replace(chunk, separated=False, goes_on=False))
            left = max(left - chunk.characters, 0)
        return train, validation


def survey(documents: Sequence[Document], report: Report, chunk_bytes: int = CHUNK_BYTES) -> Survey:
    """Reads all documents once: checks that they are UTF-8, hashes them, and finds where to cut them.

    Chunks have at most ``chunk_bytes`` and end at the end of a token: at a newline, or at white space after a letter or
    a number. A chunk without such a place is cut between any two characters.

    Raises InputError if a document is not UTF-8, or if none has text.
    """
    total = sum(document.path.stat().st_size for document in documents)
    chunks: list[Chunk] = []
    read = count = windows = 0
    digest = hashlib.sha256()
    report("reading", 0, total)
    for document in documents:
        before = len(chunks)
        for chunk, content in _read(document, max(chunk_bytes, _LEAST_CHUNK_BYTES)):
            first = len(chunks) == before
            separated = chunk.separated or (first and count > 0)
            if separated:
                digest.update(BETWEEN_DOCUMENTS)
            digest.update(content)
            chunks.append(replace(chunk, separated=separated, goes_on=not first and not chunk.separated))
            count += content.count(BETWEEN_DOCUMENTS) + (first or chunk.separated)
            windows += first and b"\r\n" in content
            read += len(content)
            report("reading", read, total)
    if not chunks:
        names = documents[0].name if len(documents) == 1 else f"each of the {len(documents)} files"
        raise InputError(f"{names} is empty; a text is needed")
    return Survey(chunks, count, digest.hexdigest(), windows)


def characters_before(total: int, fraction: float) -> int:
    """How many of ``total`` characters come before the last ``fraction`` of them; exact, as 0.1 is no binary number."""
    return math.floor(total * (1 - Fraction(str(fraction))))


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
        content, at_end, separated = b"", False, False
        while not at_end:
            content += file.read(chunk_bytes - len(content))
            at_end = len(content) < chunk_bytes
            if document.packed and content.startswith(BETWEEN_DOCUMENTS):  # a long document ended with the last chunk
                start, content, separated = start + 1, content[1:], True
            if document.packed and (end := len(content) if at_end else content.rfind(BETWEEN_DOCUMENTS)) > 0:
                taken = content[:end]
                characters = len(taken.replace(BETWEEN_DOCUMENTS, b"").decode())
                yield Chunk(document, start, start + end, characters, zlib.crc32(taken), separated), taken
                start, content, separated = start + end + 1, content[end + 1 :], True
                continue
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
                yield Chunk(document, start, start + length, len(text), zlib.crc32(taken), separated), taken
                separated = False
            start += length
            content = content[length:]
