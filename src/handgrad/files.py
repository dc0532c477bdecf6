"""Files written whole or not at all, and read with one clear sentence where they cannot be."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from handgrad.errors import InputError


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces the file in one step: whoever reads it finds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_flushed(temporary, content)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # the name that was asked for
    finally:
        with contextlib.suppress(OSError):  # where all went well it is gone already
            temporary.unlink()
    flush_directory(path.parent)


def write_flushed(path: Path, content: bytes) -> None:
    """Writes the file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Waits until the directory's entries (names, renames) are on the disk, where the system can say so."""
    if os.name == "nt":
        return  # Windows opens no directories
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that a person can read, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises InputError where the file is missing, not JSON or no object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; a JSON file is needed") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def read_text(path: Path) -> str:
    """A UTF-8 file's text, as it is: line ends are not translated; a byte order mark at its start is dropped.

    Raises InputError where the file is missing, a directory, empty or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; a text file is needed") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start} ({error.reason}); "
            "convert it first, for example with iconv"
        ) from None
    if not text:
        raise InputError(f"{path} is empty; a text is needed")
    return text
