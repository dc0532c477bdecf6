"""Finds the documents in what a user names: files, directories, streams; files with many documents; texts of any kind.

Whatever is not plain UTF-8 is first copied into a file that is.
"""

import codecs
import json
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from handgrad.data.documents import BETWEEN_DOCUMENTS, DEFAULT_FRACTION, Document, Report
from handgrad.system.encodings import (
    HEAD,
    LineEnds,
    NotTextError,
    check_is_text,
    encoding_of,
    is_gzip,
    not_utf8,
    utf8_of,
)
from handgrad.system.errors import InputError
from handgrad.system.files import naming
from handgrad.tokenizers.counting import utf8

_SPOOLED_AT_A_TIME = 1 << 20
_LONGEST_LINE = 1 << 28
_numbers = count()
_SHUFFLING = 3
"""The purpose of these random numbers; see training/step.py."""


@dataclass(frozen=True)
class Stream:
    """A text that can be read only once, such as a pipe, and its name in messages."""

    file: BinaryIO
    name: str


@dataclass(frozen=True)
class Choices:
    """What is a document, which files are read and how, and which documents are for validation.

    Raises InputError for an invalid value.
    """

    documents: str = "files"
    """files: each file is a document. lines: each line. jsonl:FIELD: that field of each line's object."""
    val_texts: Sequence[Path | Stream] = ()
    """The validation text. Then all other texts are for training."""
    val_fraction: float = DEFAULT_FRACTION
    """The part of the characters, at the end, that is for validation if there are no ``val_texts``."""
    shuffle: bool = False
    """Put the documents in random order before the split."""
    seed: int = 0
    """Of that order."""
    include: Sequence[str] = ()
    """Patterns. If there are some, only the files of a directory that match one are read."""
    exclude: Sequence[str] = ()
    """Patterns. Files of a directory that match one are not read."""
    encoding: str | None = None
    """The encoding of texts without a byte order mark; UTF-8, 16 or 32, whichever it is, by default."""
    line_ends: LineEnds = "keep"
    """unix turns the line ends of Windows and of old Macs into line feeds."""

    def __post_init__(self) -> None:
        if self.documents not in ("files", "lines") and not (self.field or "").strip():
            raise InputError(f"documents must be files, lines or jsonl:FIELD, not {self.documents!r}")
        if not 0 < self.val_fraction < 1:
            raise InputError(f"val_fraction must lie between 0 and 1, not be {self.val_fraction}")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, not {self.seed}")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise InputError(f"unknown encoding {self.encoding!r}; common ones: utf-8, latin-1, gb18030") from None

    @property
    def field(self) -> str | None:
        """The field of jsonl:FIELD; None for other documents."""
        kind, found, name = self.documents.partition(":")
        return name if kind == "jsonl" and found else None

    @property
    def kind(self) -> str:
        """files, lines or jsonl."""
        return self.documents.partition(":")[0]

    def reads(self, path: Path, directory: Path) -> bool:
        """Whether a file below a directory is read: a pattern matches its name or its path from there."""
        names = (path.name, path.relative_to(directory).as_posix())

        def matches(patterns: Sequence[str]) -> bool:
            return any(fnmatch(name, pattern) for pattern in patterns for name in names)

        return (not self.include or matches(self.include)) and not matches(self.exclude)


@dataclass
class Skipped:
    """The files of directories that are not read."""

    not_text: list[tuple[str, str]] = field(default_factory=list)
    """Their names, and what they are."""
    by_pattern: int = 0


def find_documents(
    texts: Sequence[Path | Stream],
    spool: Path,
    report: Report,
    choices: Choices | None = None,
    skipped: Skipped | None = None,
) -> list[Document]:
    """The given files, all files below the given directories, and streams, in UTF-8.

    Streams and texts that are not plain UTF-8 are copied into the directory ``spool``, as are those that consist of
    many documents, which become one file. The files of a directory come in the order of their relative paths. Hidden
    ones are skipped, and those that are not texts, which ``skipped`` then names.

    Raises InputError if a path does not exist, if a file that is named is not a text, or if there is no text.
    """
    choices, skipped = choices or Choices(), skipped or Skipped()
    finder = _Finder(spool, report, choices, skipped)
    found = [document for text in texts for document in finder.documents_of(text)]
    rng = np.random.default_rng([choices.seed, _SHUFFLING])
    if choices.kind == "files":
        return [found[i] for i in rng.permutation(len(found))] if choices.shuffle else found
    packed, starts = _packed(found, _new_file(spool), choices, report)
    if not choices.shuffle:
        return [packed]
    return [_reordered(packed, starts, rng.permutation(len(starts) - 1), _new_file(spool), report)]


class _Finder:
    def __init__(self, spool: Path, report: Report, choices: Choices, skipped: Skipped) -> None:
        self.spool, self.report, self.choices, self.skipped = spool, report, choices, skipped

    def documents_of(self, text: Path | Stream) -> list[Document]:
        if isinstance(text, Stream):
            return [self._as_utf8(self._spooled(text))]
        if text.is_dir():
            return self._below(text)
        if text.is_file():
            return [self._as_utf8(Document(text, str(text)))]
        if text.exists() and not text.is_fifo():
            raise InputError(f"{text} is neither a file nor a pipe; a text file is needed")
        if text.exists():
            with naming(text), text.open("rb") as file:
                return [self._as_utf8(self._spooled(Stream(file, str(text))))]
        raise InputError(f"{text}: no such file")

    def _below(self, directory: Path) -> list[Document]:
        paths = _files_below(directory)
        if not paths:
            raise InputError(f"{directory} is a directory without files (hidden ones are skipped); a text is needed")
        chosen = [path for path in paths if self.choices.reads(path, directory)]
        if not chosen:
            raise InputError(f"no file in {directory} passes --include and --exclude ({len(paths)} looked at)")
        self.skipped.by_pattern += len(paths) - len(chosen)
        found: list[Document] = []
        for path in chosen:
            try:
                found.append(self._as_utf8(Document(path, str(path))))
            except NotTextError as error:
                self.skipped.not_text.append((str(path), error.what))
        if not found:
            name, what = self.skipped.not_text[-1]
            raise InputError(f"{directory} has no text among its {len(chosen)} files; {name}, for example, is {what}")
        return found

    def _spooled(self, stream: Stream) -> Document:
        path = _new_file(self.spool)
        with naming(path), path.open("wb") as file:
            self.report(f"receiving {stream.name}", 0, None)
            while content := _next_part(stream):
                file.write(content)
                self.report(f"receiving {stream.name}", file.tell(), None)
        return Document(path, stream.name)

    def _as_utf8(self, document: Document) -> Document:
        """The document itself if it is plain UTF-8, otherwise a copy that is. Raises NotTextError if it is no text."""
        choices = self.choices
        with naming(document.name), document.path.open("rb") as file:
            head = file.read(HEAD)
            changes = choices.encoding is not None or choices.line_ends == "unix"
            if not (changes or is_gzip(head) or encoding_of(head) not in ("utf-8", "utf-8-sig")):
                check_is_text(head, document.name)
                return document
            file.seek(0)
            path = _new_file(self.spool)
            with path.open("wb") as copy:
                for part in utf8_of(file, document.name, choices.encoding, choices.line_ends):
                    with naming(path):
                        copy.write(part)
                    self.report(f"decoding {document.name}", copy.tell(), None)
        if document.path.parent == self.spool:
            document.path.unlink()
        return Document(path, document.name)


def _new_file(spool: Path) -> Path:
    return spool / f"text-{next(_numbers)}"


def _files_below(directory: Path) -> list[Path]:
    files: list[Path] = []
    for path, directories, names in os.walk(directory, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        below = [Path(path, name) for name in names if not name.startswith(".")]
        files += [path for path in below if path.is_file()]
    return sorted(files, key=lambda path: path.relative_to(directory).as_posix())


def _packed(
    documents: Sequence[Document], path: Path, choices: Choices, report: Report
) -> tuple[Document, "array[int]"]:
    """One file with each line, or each object's field, as a document; and where each document begins in it.

    The last number is one more than the size of the file. Lines without text are skipped.
    """
    starts = array("q", [0])
    with path.open("wb") as packed:
        for document in documents:
            for text in _texts_in(document, choices):
                if len(starts) > 1:
                    packed.write(BETWEEN_DOCUMENTS)
                packed.write(text)
                starts.append(starts[-1] + len(text) + 1)
                report("taking documents apart", starts[-1], None)
    if len(starts) == 1:
        names = documents[0].name if len(documents) == 1 else f"each of the {len(documents)} files"
        raise InputError(f"{names} has no line with text; name a file with text")
    name = documents[0].name if len(documents) == 1 else f"{documents[0].name} and {len(documents) - 1} more"
    return Document(path, name, packed=True), starts


def _texts_in(document: Document, choices: Choices) -> Iterator[bytes]:
    name = choices.field
    with naming(document.name), document.path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            content = content.rstrip(b"\r\n")
            if not content.strip():
                continue
            _check_utf8(content, document.name, file.tell() - len(line))
            text = content if name is None else utf8(_field_of(content, name, f"{document.name}: line {number}"))
            if text.strip():
                yield text


def _check_utf8(line: bytes, name: str, start: int) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(name, error, start) from None


def _field_of(line: bytes, name: str, where: str) -> str:
    """The text in a field of a JSON object; dots lead into objects in it.

    A chat, a list of messages with a role and a content, becomes a line for each message.
    """
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON: {error}") from None
    for part in [name] if isinstance(value, dict) and name in value else name.split("."):
        if not isinstance(value, dict):
            raise InputError(f"{where} must hold a JSON object with a field {name!r}, not {_kind_of(value)}")
        if part not in value:
            known = ", ".join(map(repr, list(value)[:8])) or "none"
            raise InputError(f"{where} has no field {name!r}; it has {known}")
        value = value[part]
    if isinstance(value, list) and value and all(_is_message(message) for message in value):
        return "\n".join(f"{message['role']}: {message['content']}" for message in value)
    if not isinstance(value, str):
        raise InputError(f"{where}: the field {name!r} must be a text or a list of messages, not {_kind_of(value)}")
    return value


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


def _next_part(stream: Stream) -> bytes:
    with naming(stream.name):
        return stream.file.read(_SPOOLED_AT_A_TIME)


def _kind_of(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _reordered(packed: Document, starts: "array[int]", order: Any, path: Path, report: Report) -> Document:
    """The documents of a file in another order."""
    with packed.path.open("rb") as old, path.open("wb") as new:
        for place, number in enumerate(order.tolist()):
            old.seek(starts[number])
            new.write(BETWEEN_DOCUMENTS if place else b"")
            new.write(old.read(starts[number + 1] - starts[number] - 1))
            report("shuffling", new.tell(), None)
    packed.path.unlink()
    return Document(path, packed.name, packed=True)


def _raise(error: OSError) -> NoReturn:
    raise error
