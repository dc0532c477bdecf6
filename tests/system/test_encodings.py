"""What a file is, by its bytes: Unicode in each encoding, with and without a mark, compressed, or no text at all."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from handgrad.runs import read_config_file
from handgrad.system.encodings import HEAD, NotTextError, NotUtf8Error, decoded, encoding_of, likely_encoding, utf8_of
from handgrad.system.errors import InputError
from handgrad.system.files import read_json, read_text

TEXTS = {
    "english": "Hello, world: naïve café.\r\nA second line\n" * 10,
    "chinese": "第一回 灵根育孕源流出\n\n诗曰:混沌未分天地乱,茫茫渺渺无人见。这是一个人的国,他们在那里了。\n" * 10,
    "japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 10,
    "korean": "나라의 말이 중국과 달라 문자와 서로 통하지 아니하므로\n" * 10,
    "russian": "Все счастливые семьи похожи друг на друга.\n" * 10,
    "arabic": "كان يا ما كان في قديم الزمان\n" * 10,
    "emoji": "one 🦓 two 🦓🦓\n" * 10,
    "long": "words and more words\n" * 20_000,
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TEXTS)
def test_unicode_is_read_with_and_without_a_mark_and_compressed(name: str, encoding: str) -> None:
    content = TEXTS[name].encode(encoding)
    assert decoded(content, name) == TEXTS[name]
    assert decoded(gzip.compress(content), name) == TEXTS[name]


@pytest.mark.parametrize("text", ["", "a", "\0", "a\0", "a\0b\0", "a\r\nb\rc\n\0é🦓", "é\0ñ" * 9, "no zeros"])
def test_utf_8_stays_utf_8_even_with_zeros(text: str) -> None:
    assert decoded(text.encode(), "text") == text


@pytest.mark.parametrize(
    ("name", "encoding", "likely"),
    [
        ("english", "latin-1", "WINDOWS-1252"),
        ("chinese", "gb18030", "GB18030"),
        ("japanese", "shift_jis", "SHIFT_JIS"),
        ("korean", "euc_kr", "EUC-KR"),
        ("russian", "cp1251", "WINDOWS-1251"),
    ],
)
def test_older_encodings_are_guessed_and_can_be_named(name: str, encoding: str, likely: str) -> None:
    content = TEXTS[name].encode(encoding)
    assert likely_encoding(content) == likely
    with pytest.raises(NotUtf8Error, match=rf"^a\.txt is not UTF-8: byte .* iconv -f {likely} -t UTF-8$"):
        decoded(content, "a.txt")
    assert decoded(content, "a.txt", encoding) == decoded(content, "a.txt", likely.lower()) == TEXTS[name]


def test_a_mark_counts_more_than_a_named_encoding() -> None:
    assert decoded("été".encode("utf-16"), "a.txt", "latin-1") == "été"
    with pytest.raises(InputError, match=r"^a\.txt is not ascii: byte 0xe9 at offset 3 \(ordinal"):
        decoded("cafécafé".encode("latin-1"), "a.txt", "ascii")
    with pytest.raises(InputError, match=r"^a\.txt is not utf-16: byte 0x00 at offset 6"):
        decoded(b"\xff\xfea\0b\0\x00\xd8c\0", "a.txt")


NOT_TEXT: dict[str, tuple[bytes, str]] = {
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(30), "a PNG image, not a text; give a text file"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(30), "a JPEG image"),
    "gif": (b"GIF89a" + bytes(30), "a GIF image"),
    "webp": (b"RIFF\x10\0\0\0WEBP", "a WebP image"),
    "pdf": (
        b"%PDF-1.7\n%\xe2\xe3",
        "a PDF document, not a text; save its text as a plain text file, for example with",
    ),
    "docx": (b"PK\x03\x04" + bytes(26) + b"word/document.xml", "a Word document (docx), not a text; save its text"),
    "xlsx": (b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml", "an Excel table (xlsx)"),
    "epub": (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/epub+zip", "a book in EPUB"),
    "zip": (b"PK\x03\x04" + bytes(26) + b"a.txt", "a zip archive, not a text; unpack it and give the files in it"),
    "tar": (b"a.txt" + bytes(252) + b"ustar\x0000" + bytes(200), "a tar archive"),
    "tar.gz": (gzip.compress(b"a.txt" + bytes(252) + b"ustar\x0000" + bytes(200)), "a tar archive"),
    "xz": (b"\xfd7zXZ\0\0", "a file compressed with xz, not a text; unpack it with unxz"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document (doc, xls, ppt)"),
    "sqlite": (b"SQLite format 3\0", "an SQLite database"),
    "npy": (b"\x93NUMPY\x01\0", "a NumPy array"),
    "binary": (bytes(range(256)) * 3, "a binary file, not a text"),
}


@pytest.mark.parametrize("kind", NOT_TEXT)
@pytest.mark.parametrize("reads", [read_text, read_json, read_config_file], ids=["text", "json", "toml"])
def test_what_is_no_text_is_named_whatever_reads_it(kind: str, reads: Callable[[Path], object], tmp_path: Path) -> None:
    content, says = NOT_TEXT[kind]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NotTextError) as caught:
        reads(tmp_path / "file")
    assert str(caught.value).startswith(f"{tmp_path / 'file'} is {says}")


def test_a_damaged_gzip_file_is_one_sentence() -> None:
    whole = gzip.compress(TEXTS["english"].encode())
    for content in (whole[:50], whole[:-6], whole[:40] + b"\0\0" + whole[42:]):
        with pytest.raises(InputError, match=r"^a\.gz is compressed with gzip and damaged: ") as caught:
            decoded(content, "a.gz")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_settings_and_json_are_read_in_any_unicode(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes("lr = 0.5\r\n# é\r\n".encode(encoding))
    (tmp_path / "a.json").write_bytes('{"é": "漢"}'.encode(encoding))
    assert read_config_file(tmp_path / "a.toml") == {"lr": 0.5}
    assert read_json(tmp_path / "a.json") == {"é": "漢"}
    (tmp_path / "a.json").write_bytes(gzip.compress('{"é": "漢"}'.encode(encoding)))
    assert read_json(tmp_path / "a.json") == {"é": "漢"}


@pytest.mark.parametrize(
    ("content", "text"), [(b"a\r\nb\rc\n", b"a\nb\nc\n"), (b"a\r", b"a\n"), (b"\r\n" * HEAD, b"\n" * HEAD)]
)
def test_line_ends_of_other_systems_become_line_feeds(content: bytes, text: bytes) -> None:
    assert b"".join(utf8_of(io.BytesIO(content), "a", line_ends="unix")) == text
    assert b"".join(utf8_of(io.BytesIO(content), "a")) == content


def test_long_texts_come_in_parts_that_end_between_characters() -> None:
    text = "漢字" * 600_000
    parts = list(utf8_of(io.BytesIO(text.encode("utf-16")), "a"))
    assert len(parts) > 2
    assert "".join(part.decode() for part in parts) == text
    assert encoding_of(text.encode("utf-16")[:HEAD]) == "utf-16"
