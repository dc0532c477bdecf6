"""What the bytes of a file are: a text in one of Unicode's encodings, compressed or not, or something else by name."""

import codecs
import gzip
import io
import unicodedata
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from handgrad.system.errors import InputError

HEAD = 1 << 16
"""Bytes at the beginning of a file by which it is recognised."""
_AT_A_TIME = 1 << 20
_MOST_DECOMPRESSED = 1 << 32

LineEnds = Literal["keep", "unix"]

# The first bytes of files that are not texts, what they are, and what helps.
_UNPACK = "unpack it and give the files in it"
_SAVE = "save its text as a plain text file"
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG\r\n", "a PNG image", ""),
    (b"\xff\xd8\xff", "a JPEG image", ""),
    (b"GIF8", "a GIF image", ""),
    (b"II*\0", "a TIFF image", ""),
    (b"MM\0*", "a TIFF image", ""),
    (b"\0\0\1\0", "an icon", ""),
    (b"%PDF-", "a PDF document", f"{_SAVE}, for example with pdftotext"),
    (b"{\\rtf", "a document in rich text format (RTF)", _SAVE),
    (b"\xd0\xcf\x11\xe0", "an old Microsoft Office document (doc, xls, ppt)", _SAVE),
    (b"BZh", "a file compressed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "a file compressed with xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with Zstandard", "unpack it with unzstd"),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x7fELF", "a program", ""),
    (b"MZ\x90\0", "a program", ""),
    (b"SQLite format 3\0", "an SQLite database", "export its text"),
    (b"\x93NUMPY", "a NumPy array", ""),
    (b"OggS", "an audio or video file", ""),
    (b"ID3", "an audio file", ""),
    (b"fLaC", "an audio file", ""),
    (b"PAR1", "a Parquet table", "export its text"),
    (b"GGUF", "a model in GGUF", ""),
    (b"wOF", "a font", ""),
    (b"\0\1\0\0", "a font", ""),
)
_ZIP = b"PK\x03\x04"
_IN_ZIP = (
    (b"word/", "a Word document (docx)", _SAVE),
    (b"xl/", "an Excel table (xlsx)", "save it as a plain text file, such as CSV"),
    (b"ppt/", "a PowerPoint document (pptx)", _SAVE),
    (b"application/epub", "a book in EPUB", _SAVE),
    (b"opendocument.text", "an OpenDocument text (odt)", _SAVE),
    (b"opendocument", "an OpenDocument file", _SAVE),
    (b"archive/data.pkl", "a PyTorch checkpoint", ""),
)
_MARKS = (  # the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_SHOWN = {"utf-8-sig": "UTF-8", "utf-8": "UTF-8"}


class NotTextError(InputError):
    """A file is something else than a text. ``what`` says what it is."""

    def __init__(self, name: Path | str, what: str, helps: str) -> None:
        super().__init__(f"{name} is {what}, not a text" + (f"; {helps}" if helps else "; give a text file"))
        self.what = what


def is_gzip(head: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed with gzip."""
    return head.startswith(b"\x1f\x8b\x08")


def check_is_text(head: bytes, name: Path | str) -> None:
    """Raises NotTextError if a file that begins with these bytes, up to HEAD of them, is no text by its format.

    Bytes that are no text in any encoding of Unicode, but have no format that is known here, pass unless they hold a
    zero byte.
    """
    if head.startswith(_ZIP):
        what, helps = next(((what, helps) for mark, what, helps in _IN_ZIP if mark in head), ("a zip archive", _UNPACK))
        raise NotTextError(name, what, helps)
    for magic, what, helps in _MAGIC:
        if head.startswith(magic):
            raise NotTextError(name, what, helps)
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        raise NotTextError(name, {b"WEBP": "a WebP image", b"WAVE": "an audio file"}.get(head[8:12], "a film"), "")
    if head[4:8] == b"ftyp":
        raise NotTextError(name, "a film or an image (MP4, HEIC)", "")
    if head[257:262] == b"ustar":
        raise NotTextError(name, "a tar archive", _UNPACK)
    if head.startswith(b"BM") and len(head) > 14 and int.from_bytes(head[6:10], "little") == 0 and b"\0" in head[:30]:
        raise NotTextError(name, "a BMP image", "")
    if b"\0" in head and encoding_of(head) == "utf-8" and not _begins_as_utf8(head):
        raise NotTextError(name, "a binary file", "")


def encoding_of(head: bytes) -> str:
    """The codec of a text that begins with these bytes, by its mark, or by where its zero bytes are: UTF-8, 16 or 32.

    Latin-1 and other encodings with one byte for a character cannot be told apart for certain: they are "utf-8" here,
    and cannot be decoded.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" not in head:
        return "utf-8"
    guesses = [(score, name) for name in _WITHOUT_A_MARK if (score := _likelihood(head, name)) > 0]
    likeliest = max(guesses, default=(0.0, "utf-8"))
    if _begins_as_utf8(head) and _controls(head) < _MANY_CONTROLS * len(head):  # a text in UTF-8 may hold U+0000
        return "utf-8"
    return likeliest[1]


_WITHOUT_A_MARK = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_MANY_CONTROLS = 0.25
"""In UTF-8 few bytes are control characters. UTF-16 that is valid UTF-8 consists of them to nearly one half."""
_LEAST_PLAUSIBLE = 0.97
_FEWEST = 4
"""Characters; in a shorter text zeros say nothing."""


def _likelihood(head: bytes, encoding: str) -> float:
    """How likely bytes with zeros are a text in this encoding: 0 if impossible, else the share of usual characters.

    Usual are those of any script in their first use; what bytes in the wrong order or of the wrong width give is
    unassigned, private, or a control character, at least at line breaks and spaces.
    """
    width = 4 if "32" in encoding else 2
    whole = head[: len(head) - len(head) % width]
    if len(head) % width and len(head) < HEAD:
        return 0.0
    try:
        text = codecs.getincrementaldecoder(encoding)("strict").decode(whole)
    except UnicodeDecodeError:
        return 0.0
    if len(text) < _FEWEST:
        return 0.0
    strange = sum(unicodedata.category(c) in ("Cn", "Co", "Cs") or (c < " " and c not in "\t\n\r\f") for c in text)
    if strange > (1 - _LEAST_PLAUSIBLE) * len(text):
        return 0.0
    # Line breaks, spaces and full stops occur in the right order of bytes only.
    signs = sum(c.isascii() or c in "。，、「」" for c in text)
    if signs == 0:
        return 0.0
    return min(1.0, (len(text) - strange) / len(text)) * (0.9 + 0.1 * signs / len(text))


def _controls(head: bytes) -> int:
    """How many of the bytes are control characters, those of white space aside."""
    return sum(head.count(bytes([byte])) for byte in range(32) if byte not in b"\t\n\f\r")


def _begins_as_utf8(head: bytes) -> bool:
    try:
        codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def decoded(content: bytes, name: Path | str, encoding: str | None = None) -> str:
    """The text of a file's content: UTF-8, UTF-16 or UTF-32, with or without a mark, or compressed with gzip.

    ``encoding`` names another one. Line ends stay as they are.

    Raises NotTextError if the content is something else, and names it; InputError if it cannot be decoded.
    """
    return b"".join(utf8_of(io.BytesIO(content), name, encoding)).decode()


def utf8_of(
    file: BinaryIO, name: Path | str, encoding: str | None = None, line_ends: LineEnds = "keep"
) -> Iterator[bytes]:
    """The text in a file as UTF-8 without a mark, a part at a time; see ``decoded``. The parts end between characters.

    ``line_ends`` "unix" turns the line ends of Windows and of old Macs into line feeds.
    """
    parts = _raw(file, name)
    head = next(parts, b"")
    while len(head) < HEAD and (more := next(parts, b"")):
        head += more
    check_is_text(head[:HEAD], name)
    found = encoding_of(head[:HEAD])
    if encoding is not None and found in ("utf-8", *_WITHOUT_A_MARK):
        found = encoding
    decoder = codecs.getincrementaldecoder(found)("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True) if line_ends == "unix" else None
    done, waiting = 0, b""

    def text_of(part: bytes, final: bool) -> str:
        nonlocal done, waiting
        try:
            text = decoder.decode(part, final)
        except UnicodeDecodeError as error:
            raise not_decoded(name, error, done - len(waiting), found) from None
        done += len(part)
        waiting = decoder.getstate()[0]
        return text

    for part in chain([head], parts):
        yield _encoded(text_of(part, False), newlines, False)
    yield _encoded(text_of(b"", True), newlines, True)


def _encoded(text: str, newlines: io.IncrementalNewlineDecoder | None, final: bool) -> bytes:
    if newlines is not None:
        text = newlines.decode(text, final)
    return text.encode("utf-8", "replace")


def _raw(file: BinaryIO, name: Path | str) -> Iterator[bytes]:
    """The bytes of a file, decompressed if it is compressed with gzip."""
    first = file.read(_AT_A_TIME)
    if not is_gzip(first):
        while first:
            yield first
            first = file.read(_AT_A_TIME)
        return
    total = 0
    packed = gzip.GzipFile(fileobj=cast(Any, _Again(first, file)), mode="rb")
    try:
        while part := packed.read(_AT_A_TIME):
            total += len(part)
            if total > _MOST_DECOMPRESSED:
                raise InputError(f"{name} is compressed and holds more than {_MOST_DECOMPRESSED:,} bytes; unpack it")
            yield part
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is compressed with gzip and damaged: {error}") from None


class _Again:
    """A file of which the first bytes have been read already."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self.first, self.file = io.BytesIO(first), file

    def read(self, size: int = -1) -> bytes:
        return self.first.read(size) or self.file.read(size)


def not_decoded(name: Path | str, error: UnicodeDecodeError, start: int, encoding: str) -> InputError:
    """The error for a text that is not in this encoding; decoding began ``start`` bytes into it."""
    if encoding in _SHOWN:
        return not_utf8(name, error, start)
    return InputError(
        f"{name} is not {encoding}: byte 0x{error.object[error.start]:02x} at offset {start + error.start} "
        f"({error.reason})"
    )


class NotUtf8Error(InputError):
    """A text is not UTF-8. ``likely`` is the encoding that it is likely to have."""

    def __init__(self, sentence: str, likely: str) -> None:
        super().__init__(sentence)
        self.likely = likely


def not_utf8(name: Path | str, error: UnicodeDecodeError, start: int) -> NotUtf8Error:
    """The error for a text that is not UTF-8; decoding began ``start`` bytes into it."""
    likely = likely_encoding(bytes(error.object))
    return NotUtf8Error(
        f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {start + error.start} "
        f"({error.reason}); convert it first, for example with iconv -f {likely} -t UTF-8",
        likely,
    )


# How many of the high bytes must belong to the characters that are usual in the encoding's language.
_OLD = (("gb18030", "GB18030", 0.15), ("shift_jis", "SHIFT_JIS", 0.4), ("euc_kr", "EUC-KR", 0.8))


def likely_encoding(content: bytes) -> str:
    """The likeliest of the old encodings for bytes that are not UTF-8, by the name that iconv has for it.

    Chinese, Japanese and Korean are recognised by pairs of high bytes that give frequent characters, Cyrillic by most
    bytes being high; anything else is taken for the encoding of Western Windows, which contains Latin-1.
    """
    sample = content[:HEAD]
    high = sum(byte >= 0x80 for byte in sample)
    for codec, name, least in _OLD:
        usual = sum(_is_usual(character, name) for character in sample.decode(codec, "ignore"))
        if high >= _FEWEST and 2 * usual > least * high and _decodes(sample, codec):
            return name
    cyrillic = sum(byte >= 0xC0 for byte in sample)
    return "WINDOWS-1251" if 2 * cyrillic > len(sample) and 10 * cyrillic > 9 * high else "WINDOWS-1252"


def _is_usual(character: str, name: str) -> bool:
    if name == "GB18030":  # the most frequent characters and marks of Chinese
        return character in "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得着下自之，。"
    if name == "SHIFT_JIS":
        return "\u3040" <= character <= "\u30ff" or character in "。、"
    return "\uac00" <= character <= "\ud7a3"


def _decodes(sample: bytes, codec: str) -> bool:
    try:
        codecs.getincrementaldecoder(codec)("strict").decode(sample, False)
    except UnicodeDecodeError:
        return False
    return True
