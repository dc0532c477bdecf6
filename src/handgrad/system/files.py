"""Writes files whole or not at all; reports files that cannot be read in one clear sentence."""

import contextlib
import errno
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from handgrad.system.encodings import HEAD, check_is_text, decoded, is_gzip
from handgrad.system.errors import InputError
from handgrad.system.memory import physical_memory

_LARGEST = 1 << 30
"""Most bytes that a file read in one piece may have. The metrics of millions of steps have fewer."""
_LARGEST_JSON = 64 << 20
"""Python's objects take up to twenty times the bytes of their JSON. The largest published tokenizer has 33 MiB."""
_READ_AT_A_TIME = 1 << 24
_SHARE_OF_A_TEXT = 8
"""A text in memory becomes several arrays: one of this many parts of the memory is the most that it may take."""
_NOT_THE_FILES_FAULT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}


@contextlib.contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """A context in which every OSError names a file: this one, if the system names none, as for a failed read."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def is_unreadable(error: OSError) -> bool:
    """Whether an error says that a file cannot be read, and not that the process lacks memory or open files."""
    return error.errno not in _NOT_THE_FILES_FAULT


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces the file in one step: a reader finds the old content or the new, never a part."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces ``path`` in one step once it is complete and on the disk.

    If anything fails before that, no trace of the new file remains.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            _flush(file)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise  # about another file, which the caller read meanwhile
        raise OSError(error.errno, error.strerror, str(path)) from None  # the name that the caller gave
    finally:
        with contextlib.suppress(OSError):  # after success it is gone already
            temporary.unlink()
    flush_directory(path.parent)


def write_flushed(path: Path, content: bytes) -> None:
    """Writes the file and waits until it is on the disk."""
    with naming(path), path.open("wb") as file:
        file.write(content)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Waits until the directory's entries (names, renames) are on the disk, if the system supports that."""
    if os.name == "nt":
        return  # Windows cannot open directories
    with naming(directory):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_is_no_link(path: Path) -> None:
    """Raises InputError for a link: what is written or deleted through it would lie elsewhere."""
    if path.is_symlink():
        raise InputError(f"{path} is a link; put what it leads to in its place, as nothing is written through links")


def check_new_or_empty(directory: Path) -> None:
    """Raises InputError if the path exists and is not an empty directory."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} exists and is not an empty directory; choose another --out")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that a person can read, whole or not at all."""
    try:
        content = json.dumps(value, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, as in a file name that is not UTF-8
        content = json.dumps(value, indent=2).encode()
    write_atomically(path, content + b"\n")


def read_file(path: Path, limit: int = _LARGEST) -> bytes:
    """The content of a regular file.

    Raises InputError if the file is missing, not a regular file (a pipe may never end) or larger than ``limit`` bytes,
    OSError with its name if it cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise InputError(f"{path} is {kind}; a file is needed")
        if found.st_size > limit:
            raise InputError(f"{path} has {found.st_size:,} bytes; it can have {limit:,} at most")
        with naming(path):
            return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def read_json(path: Path, limit: int = _LARGEST_JSON) -> dict[str, Any]:
    """The object in a JSON file.

    Raises InputError if the file is missing, too large, is not JSON or does not hold an object.
    """
    content = read_file(path, limit)
    if is_gzip(content):
        content = decoded(content, path).encode()
    try:
        value = json.loads(content, object_pairs_hook=_object)  # which decodes UTF-8, UTF-16 and UTF-32
    except (ValueError, RecursionError) as error:
        check_is_text(content[:HEAD], path)
        raise InputError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError if a name occurs twice, as one of the two values would be lost."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {twice[:80]!r} occurs twice in one object")
    return value


def read_text(path: Path) -> str:
    """The text of a file or pipe in UTF-8, UTF-16 or UTF-32, or of one that is compressed with gzip.

    Keeps line ends as they are; drops a byte order mark at the start. Raises InputError if the file is missing, a
    directory, a device, empty, no text in these encodings, or too large for this memory.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    if stat.S_ISDIR(kind):
        raise InputError(f"{path} is a directory; a text file is needed")
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise InputError(f"{path} is neither a file nor a pipe; a text file is needed")
    with naming(path), path.open("rb") as file:
        text = decoded(read_to_its_end(file, path), path)
    if not text:
        raise InputError(f"{path} is empty; a text is needed")
    return text


def read_to_its_end(file: BinaryIO, name: Path | str) -> bytes:
    """The content of an open file, which may never end.

    Raises InputError if it is larger than a text in memory can be on this machine.
    """
    memory = physical_memory()
    limit = sys.maxsize - 1 if memory is None else memory // _SHARE_OF_A_TEXT
    parts, size = [], 0
    while part := file.read(min(_READ_AT_A_TIME, limit + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise InputError(
                f"{name} has more than {limit:,} bytes, too many for a text in this machine's memory; handgrad prepare "
                "turns longer texts into token files"
            )
    return b"".join(parts)
