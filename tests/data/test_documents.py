"""Documents become chunks: nothing is lost or read twice, and no token crosses from one chunk into the next."""

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.data.documents import Document, Survey, chunks_in_groups, survey
from handgrad.data.finding import Stream, find_documents
from handgrad.data.preparing import no_report
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

Surveyed = Callable[..., Survey]
# Characters of all kinds that patterns treat differently: letters, contractions, numbers, signs, white space, marks.
STRANGE = "aAsl'ſ1²½_!?. \t\r\u3000\u2028\x1c\x85\u00a0éΣσİ我🦓\u0301\ufeff\0"
TOKENIZERS = {
    "char": CharTokenizer(),
    "word": WordTokenizer(),
    "word in lower case": WordTokenizer(lowercase=True),
    "gpt2": BPETokenizer(),
    "gpt4": BPETokenizer(pattern="gpt4"),
}


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Surveyed:
    """Surveys texts, each as a document."""
    directory = tmp_path_factory.mktemp("documents")

    def read(*texts: str | bytes, chunk_bytes: int) -> Survey:
        documents = []
        for number, text in enumerate(texts):
            path = directory / str(number)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            documents.append(Document(path, path.name))
        return survey(documents, no_report, chunk_bytes)

    return read


def texts_of(found: Survey) -> list[str]:
    return [chunk.text() for chunk in found.chunks]


# Cutting


@settings(deadline=None)
@given(text=st.text(min_size=1), chunk_bytes=st.integers(1, 40))
def test_chunks_are_the_text_whatever_it_is(surveyed: Surveyed, text: str, chunk_bytes: int) -> None:
    found = surveyed("x" + text, chunk_bytes=chunk_bytes)
    assert "".join(texts_of(found)) == "x" + text
    assert found.sha256 == hashlib.sha256(("x" + text).encode()).hexdigest()
    for chunk in found.chunks:
        assert chunk.characters == len(chunk.text()) > 0
        assert chunk.n_bytes <= max(chunk_bytes, 4)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("place", ["x\ny", "x y", "é\r\ny", "1\n\n我", "!\n我"])
@settings(deadline=None, max_examples=60)
@given(parts=st.lists(st.text(STRANGE, max_size=8), min_size=6, max_size=20))
def test_no_piece_reaches_across_chunks(surveyed: Surveyed, name: str, place: str, parts: list[str]) -> None:
    text = "x" + place.join(parts)
    found = surveyed(text, chunk_bytes=80)  # twice the greatest distance between two places
    tokenizer = TOKENIZERS[name]
    assert tokenizer.count(texts_of(found)) == tokenizer.count([text])


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("one\ntwo\nthree", ["one\ntwo\n", "three"]),
        ("one two three", ["one two", " three"]),
        ("a\n\nbbbbbbbbbbb", ["a", "\n\nbbbbbbbb", "bbb"]),  # two new lines in a row are no place to cut
        ("aaaaaaaaaaaa", ["aaaaaaaaaa", "aa"]),  # no place at all
        ("我我我我我", ["我我我", "我我"]),  # nine bytes
    ],
)
def test_where_a_text_is_cut(surveyed: Surveyed, text: str, chunks: list[str]) -> None:
    assert texts_of(surveyed(text, chunk_bytes=10)) == chunks


@settings(deadline=None)
@given(texts=st.lists(st.text("ab \né", max_size=30), min_size=1, max_size=5), chunk_bytes=st.integers(4, 20))
def test_the_split_is_nine_to_one_over_all_documents(surveyed: Surveyed, texts: list[str], chunk_bytes: int) -> None:
    whole = "".join(texts)
    if not whole:
        return
    train, validation = surveyed(*texts, chunk_bytes=chunk_bytes).split()
    cut = len(whole) * 9 // 10
    assert "".join(chunk.text() for chunk in train) == whole[:cut]
    assert "".join(chunk.text() for chunk in validation) == whole[cut:]
    for part in (train, validation):
        for i, chunk in enumerate(part):
            assert chunk.separated == (i > 0 and chunk.document != part[i - 1].document)


def test_several_documents_are_hashed_with_a_byte_between_them(surveyed: Surveyed) -> None:
    found = surveyed("ab", "", "é", b"\xef\xbb\xbf", chunk_bytes=10)
    assert found.documents == 2
    assert found.sha256 == hashlib.sha256(b"ab\xff" + "é".encode()).hexdigest()


def test_a_byte_order_mark_is_dropped_at_a_start_and_nowhere_else(surveyed: Surveyed) -> None:
    found = surveyed("\ufeffa\ufeffb", "\ufeff\ufeffc", chunk_bytes=5)
    assert "".join(texts_of(found)) == "a\ufeffb\ufeffc"
    assert found.sha256 == hashlib.sha256("a\ufeffb".encode() + b"\xff" + "\ufeffc".encode()).hexdigest()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a" * 50 + b"\xe9bc", "byte 0xe9 at offset {50} (invalid continuation byte)"),
        (b"a" * 50 + b"\xff", "byte 0xff at offset {50} (invalid start byte)"),
        ("é".encode() * 20 + b"\xe2\x9c", "byte 0xe2 at offset {40} (unexpected end of data)"),
        (b"ab\xed\xa0\x80", "byte 0xed at offset {2} (invalid continuation byte)"),  # a surrogate
    ],
)
def test_what_is_not_utf_8_is_refused_with_its_place(
    surveyed: Surveyed, content: bytes, says: str, mark: bytes
) -> None:
    offset = int(says[says.index("{") + 1 : says.index("}")])
    with pytest.raises(InputError) as caught:
        surveyed("fine", mark + content, chunk_bytes=7)
    expected = says.replace(f"{{{offset}}}", str(offset + len(mark)))
    assert (
        str(caught.value)
        == f"1 is not UTF-8: {expected}; convert it first, for example with iconv -f WINDOWS-1252 -t UTF-8"
    )


def test_a_document_that_was_changed_is_not_believed(surveyed: Surveyed) -> None:
    (chunk,) = surveyed("é" * 10, chunk_bytes=100).chunks
    for changed in ("a" * 20, "é" * 9, "é" * 9 + "è"):
        chunk.document.path.write_text(changed, encoding="utf-8")
        with pytest.raises(InputError, match=r"^0 was changed while it was read; start again$"):
            chunk.text()


def test_short_documents_are_worked_on_some_at_a_time(surveyed: Surveyed) -> None:
    found = surveyed(*["abc"] * 10, "x" * 25, "a", chunk_bytes=10)
    sizes = [[chunk.n_bytes for chunk in batch] for batch in chunks_in_groups(found.chunks, 10)]
    assert sizes == [[3] * 3, [3] * 3, [3] * 3, [3], [10], [10], [5, 1]]


# Finding


def names(directory: Path, *texts: Path | Stream) -> list[str]:
    return [document.name for document in find_documents(texts, directory, no_report)]


def test_a_directory_is_all_files_below_it_in_order_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c", "a.txt", ".hidden", "a/.git/config", "B"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    below = [str(tmp_path / "in" / name) for name in ("B", "a.txt", "a/b/c", "a/z.txt", "b.txt")]
    assert names(tmp_path, tmp_path / "in") == below
    asked = tmp_path / "in" / ".hidden"
    assert names(tmp_path, asked, tmp_path / "in" / "a") == [str(asked), *below[2:4]]


def test_a_directory_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden").touch()
    with pytest.raises(InputError, match=r"empty is a directory without files \(hidden ones are skipped\)"):
        names(tmp_path, tmp_path / "empty")


def test_what_comes_but_once_is_kept_to_be_read_again(tmp_path: Path) -> None:
    documents = find_documents([Stream(BytesIO("é🦓".encode() * 10), "a pipe")], tmp_path, no_report)
    found = survey(documents, no_report, 7)
    assert documents[0].name == "a pipe"
    for _ in range(2):
        assert "".join(texts_of(found)) == "é🦓" * 10


def counted(tokenizer: Tokenizer, texts: list[str]) -> int:
    return sum(tokenizer.count(texts).values())


def test_the_strange_texts_are_cut_into_pieces_of_more_than_a_character() -> None:
    """Otherwise the test that no piece crosses chunks could not fail."""
    for name, tokenizer in TOKENIZERS.items():
        text = "x !\r\n\n  Σ1'll"
        assert (counted(tokenizer, [text]) < counted(tokenizer, list(text))) is (name != "char")
