"""What users name as texts: folders of mixed files, one item per line, JSONL; and which part is for validation."""

import gzip
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from handgrad.data import Choices, Prepared, Stream, TokenData, open_token_files, prepare_in_memory, prepare_token_files
from handgrad.data.documents import characters_before
from handgrad.data.workers import Workers
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, make_tokenizer

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


def prepared(
    directory: Path,
    *texts: Path | Stream,
    tokenizer: Tokenizer | None = None,
    chunk_bytes: int = 1 << 20,
    **choices: object,
) -> tuple[TokenData, Prepared]:
    out = directory / "out"
    made = prepare_token_files(
        [*texts],
        out,
        tokenizer or CharTokenizer(byte_fallback=True),
        choices=Choices(**choices),  # type: ignore[arg-type]
        workers=Workers("here"),
        chunk_bytes=chunk_bytes,
    )
    return open_token_files(out), made


def documents_in(ids: np.ndarray, tokenizer: Tokenizer) -> list[str]:
    return tokenizer.decode(ids).split("<eos>")


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Folders


def mixed_folder(directory: Path) -> Path:
    for name, content in {
        "a.txt": b"alpha\n",
        "b.txt.gz": gzip.compress(b"beta\n"),
        "c.txt": "gämma\n".encode("utf-16"),
        "d.txt": "dälta\n".encode("utf-8-sig"),
        "e/photo.png": PNG,
        "e/notes.pdf": b"%PDF-1.4 ...",
        "f.txt": "été, 漢字\n".encode("utf-32-be"),
    }.items():
        written(directory / name, content)
    return directory


def test_a_folder_of_mixed_files_is_read_and_what_is_no_text_is_counted(tmp_path: Path) -> None:
    folder = mixed_folder(tmp_path / "in")
    data, made = prepared(tmp_path, folder, val_texts=[written(tmp_path / "v.txt", "eta")])
    assert documents_in(data.train, data.tokenizer) == ["alpha\n", "beta\n", "gämma\n", "dälta\n", "été, 漢字\n"]
    assert made.skipped.not_text == [
        (str(folder / "e" / "notes.pdf"), "a PDF document"),
        (str(folder / "e" / "photo.png"), "a PNG image"),
    ]
    assert made.documents == 6


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"include": ["*.txt"]}, ["alpha\n", "gämma\n", "dälta\n", "été, 漢字\n"]),
        ({"include": ["*.gz", "a*"]}, ["alpha\n", "beta\n"]),
        ({"exclude": ["[b-f]*"]}, ["alpha\n"]),
        ({"exclude": ["e/*", "f.txt", "*.gz"]}, ["alpha\n", "gämma\n", "dälta\n"]),
        ({"include": ["*.txt"], "exclude": ["a.txt", "c*"]}, ["dälta\n", "été, 漢字\n"]),
    ],
)
def test_patterns_choose_files(choices: dict[str, object], expected: list[str], tmp_path: Path) -> None:
    folder = mixed_folder(tmp_path / "in")
    data, made = prepared(tmp_path, folder, val_texts=[written(tmp_path / "v.txt", "eta")], **choices)
    assert documents_in(data.train, data.tokenizer) == expected
    assert made.skipped.by_pattern == 7 - len(expected) - len(made.skipped.not_text)


def test_a_file_that_is_named_itself_is_refused_by_what_it_is(tmp_path: Path) -> None:
    image = written(tmp_path / "in" / "photo.txt", PNG)
    for text in (image, Stream(io.BytesIO(PNG), "standard input")):
        name = text if isinstance(text, Path) else "standard input"
        with pytest.raises(InputError, match=rf"^{name} is a PNG image, not a text; give a text file$"):
            prepared(tmp_path, text)
    with pytest.raises(InputError, match=r"in has no text among its 1 files; .*photo\.txt, .* is a PNG image$"):
        prepared(tmp_path, tmp_path / "in")
    with pytest.raises(InputError, match=r"^no file in .*in passes --include and --exclude \(1 looked at\)$"):
        prepared(tmp_path, tmp_path / "in", exclude=["*"])
    assert not (tmp_path / "out").exists()


def test_an_encoding_can_be_named_and_line_ends_changed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", ("café noir\r\n" * 20).encode("latin-1"))
    with pytest.raises(InputError, match=r"or name its encoding: --encoding windows-1252$"):
        prepared(tmp_path, path)
    data, made = prepared(tmp_path, path, encoding="windows-1252", line_ends="unix")
    whole = data.tokenizer.decode(data.train) + data.tokenizer.decode(data.validation)
    assert whole == "café noir\n" * 20
    assert made.notes == ()


def test_the_line_ends_of_windows_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    written(folder / "a.txt", "one\r\ntwo\r\n" * 9)
    written(folder / "b.txt", "one\ntwo\n" * 9)
    _, made = prepared(tmp_path, folder)
    assert made.notes == (
        "1 of 2 documents have the line ends of Windows, two characters each; --line-ends unix replaces them with one "
        "line feed",
    )


# One item per line


@pytest.mark.parametrize("chunk_bytes", [4, 9, 20, 1 << 20])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_each_line_is_a_document(chunk_bytes: int, ends: str, tmp_path: Path) -> None:
    names = ["emma", "olivia", "ava", "zoë", "李", "maximiliana", "jo"] * 6
    content = "\ufeff" + ends.join([*names[:20], "", "  ", *names[20:]]) + ends
    data, made = prepared(tmp_path, written(tmp_path / "n.txt", content), documents="lines", chunk_bytes=chunk_bytes)
    train, validation = (documents_in(part, data.tokenizer) for part in (data.train, data.validation))
    assert train + validation == names
    characters = sum(map(len, names))
    assert sum(map(len, train)) <= characters * 9 // 10 < sum(map(len, train)) + len(validation[0])
    assert (made.documents, data.meta.documents, made.notes) == (42, "lines", ())
    assert data.meta.train_characters + data.meta.validation_characters == characters
    assert data.meta.corpus_sha256 == hashlib.sha256(b"\xff".join(name.encode() for name in names)).hexdigest()
    assert data.tokenizer.vocab_size == 4 + 256 + len(set("".join(train)))


def test_lines_of_several_files_are_taken_together(tmp_path: Path) -> None:
    written(tmp_path / "in" / "a.txt", "one\ntwo")
    written(tmp_path / "in" / "b.txt", "three\nfour\nfive and more\n")
    data, made = prepared(tmp_path, tmp_path / "in", documents="lines")
    assert made.documents == 5
    assert documents_in(data.train, data.tokenizer) == ["one", "two", "three", "four"]


def test_a_first_line_longer_than_the_training_part_is_for_training(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path, written(tmp_path / "a.txt", "x" * 100 + "\ny\n"), documents="lines", chunk_bytes=30)
    assert data.meta.train_characters + data.meta.validation_characters == 101
    data, _ = prepared(tmp_path / "two", written(tmp_path / "b.txt", "x" * 100 + "\ny\n"), documents="lines")
    assert documents_in(data.train, data.tokenizer) == ["x" * 100]
    assert documents_in(data.validation, data.tokenizer) == [data.tokenizer.decode(data.tokenizer.encode("y"))]


def chat(path: Path, rows: list[object]) -> Path:
    return written(path, "\n".join(json.dumps(row) for row in rows) + "\n")


def test_a_field_of_each_object_is_a_document(tmp_path: Path) -> None:
    rows = [{"user": "ana", "text": f"line one {i}\nline two"} for i in range(20)]
    data, made = prepared(tmp_path, chat(tmp_path / "c.jsonl", rows), documents="jsonl:text")
    assert documents_in(data.train, data.tokenizer) == [row["text"] for row in rows[:18]]
    assert (made.documents, data.meta.documents) == (20, "jsonl")


def test_fields_in_fields_and_chats(tmp_path: Path) -> None:
    nested = [{"message": {"text": f"nested {i}"}, "a.b": f"dotted {i}"} for i in range(10)]
    for name, expected in (("message.text", "nested 0"), ("a.b", "dotted 0")):
        data, _ = prepared(tmp_path / name, chat(tmp_path / "n.jsonl", nested), documents=f"jsonl:{name}")
        assert documents_in(data.train, data.tokenizer)[0] == expected
    talks = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}] * 10
    data, _ = prepared(tmp_path, chat(tmp_path / "t.jsonl", talks), documents="jsonl:messages")
    assert documents_in(data.train, data.tokenizer)[0] == "user: hi\nassistant: hello"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is not valid JSON: "),
        ("[1]", "line 2 must hold a JSON object with a field 'text', not a list"),
        ('{"body": "x", "user": 1}', "line 2 has no field 'text'; it has 'body', 'user'"),
        ('{"text": 5}', "line 2: the field 'text' must be a text or a list of messages, not a number"),
        ('{"text": null}', "line 2: the field 'text' must be a text or a list of messages, not null"),
        ('{"text": [{"role": "user"}]}', "line 2: the field 'text' must be a text or a list of messages, not a list"),
        ('{"text": ' * 100_000, "line 2 is not valid JSON: "),
    ],
)
def test_a_line_without_the_field_is_named(line: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", '{"text": "fine"}\n' + line)
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, path, documents="jsonl:text")
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "\n" not in str(caught.value)


def test_lines_that_are_no_text_or_not_utf_8_are_named_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt has no line with text; name a file with text$"):
        prepared(tmp_path, written(tmp_path / "a.txt", "\n \r\n\n"), documents="lines")
    with pytest.raises(InputError, match=r"b\.txt is not UTF-8: byte 0xe9 at offset 8 .*--encoding windows-1252$"):
        prepared(tmp_path, written(tmp_path / "b.txt", b"fine\ncaf\xe9\n"), documents="lines")
    surrogate, _ = prepared(tmp_path, written(tmp_path / "c", '{"t": "a\\ud800b"}\n' * 20), documents="jsonl:t")
    assert documents_in(surrogate.train, surrogate.tokenizer)[0] == "a\ufffdb"


# The split


@pytest.mark.parametrize(("total", "fraction", "before"), [(10, 0.1, 9), (101, 0.1, 90), (1000, 0.3, 700), (7, 0.5, 3)])
def test_the_fraction_is_exact(total: int, fraction: float, before: int) -> None:
    assert characters_before(total, fraction) == before
    assert all(characters_before(n, 0.1) == n * 9 // 10 for n in range(3000))


def test_a_fraction_of_the_text_is_for_validation(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path, written(tmp_path / "a.txt", "ab" * 50), val_fraction=0.25)
    assert (data.meta.train_characters, data.meta.validation_characters) == (75, 25)


@pytest.mark.parametrize("kind", ["files", "lines"])
def test_shuffled_documents_are_in_an_order_of_the_seed(kind: str, tmp_path: Path) -> None:
    names = sorted(f"{chr(97 + i % 26)}{i:03}" for i in range(100))
    if kind == "lines":
        source = written(tmp_path / "n.txt", "\n".join(names))
    else:
        source = tmp_path / "in"
        for name in names:
            written(source / name, name)
    made = {}
    for run, seed in (("first", 1), ("again", 1), ("other", 2)):
        data, _ = prepared(tmp_path / run, source, documents=kind, shuffle=True, seed=seed, chunk_bytes=50)
        made[run] = documents_in(data.train, data.tokenizer) + documents_in(data.validation, data.tokenizer)
    assert made["first"] == made["again"]
    assert made["first"] != made["other"]
    assert sorted(made["first"]) == sorted(made["other"]) == names
    assert {name[0] for name in made["first"][90:]} != {name[0] for name in names[90:]}


def test_the_validation_text_can_be_another(tmp_path: Path) -> None:
    train, validation = written(tmp_path / "t.txt", "abcab" * 9), written(tmp_path / "v.txt", "bca")
    data, made = prepared(tmp_path, train, val_texts=[validation])
    assert data.tokenizer.decode(data.train) == "abcab" * 9
    assert data.tokenizer.decode(data.validation) == "bca"
    assert (made.documents, made.notes, data.meta.documents) == (2, (), "")
    other, _ = prepared(tmp_path / "other", train, val_texts=[written(tmp_path / "w.txt", "bcb")])
    assert other.meta.corpus_sha256 != data.meta.corpus_sha256


# What is said of it


def ordered_names(directory: Path) -> Path:
    return written(directory / "n.txt", "\n".join(f"{chr(97 + i // 4)}{i % 4}o" for i in range(80)))


def test_characters_that_only_validation_has_are_counted_and_named(tmp_path: Path) -> None:
    data, made = prepared(tmp_path, ordered_names(tmp_path), documents="lines", tokenizer=CharTokenizer())
    assert made.notes == (
        "8 of 24 characters of the validation text are unknown to the tokenizer ('s', 't'), because the training text "
        "lacks them, so bits per character cannot be compared; --byte-fallback lets the tokenizer encode every "
        "character; "
        "--shuffle-documents or --val-text choose another split",
    )
    assert data.why_no_bits == (
        "bits per character are not comparable: the tokenizer does not know 8 of the 31 characters of the validation "
        "text, and a model is not measured by what it does not see; train with --byte-fallback or --tokenizer "
        "bpe, which know every text"
    )


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_with_bytes_nothing_is_unknown_and_what_training_lacks_is_said(kind: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(kind, 270 if kind == "bpe" else None, byte_fallback=True)
    data, made = prepared(tmp_path, ordered_names(tmp_path), documents="lines", tokenizer=tokenizer)
    assert data.why_no_bits is None
    assert data.tokens_per_character is not None
    (note,) = made.notes
    assert " of the validation text (" in note
    helps = "--shuffle-documents or --val-text choose another split"
    if kind == "word":
        helps = (
            "with a smaller --vocab-size the model learns bytes, because rare words of the training text become bytes"
        )
    assert note.endswith(f"occur nowhere in the training text, so the model cannot learn them; {helps}")
    if kind != "word":
        assert note.startswith("2 tokens of the validation text ('")
    shuffled, made = prepared(
        tmp_path / "shuffled", ordered_names(tmp_path), documents="lines", tokenizer=CharTokenizer(), shuffle=True
    )
    assert (shuffled.why_no_bits, made.notes) == (None, ())


def test_a_tokenizer_from_elsewhere_lacks_characters_of_both_parts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "abc" * 30)
    made = prepare_in_memory([path], CharTokenizer("ab"), learn=False)[1]
    assert [note.split(";")[0] for note in made.notes] == [
        f"{some} characters of the {part} text are unknown to the tokenizer ('c'), because its vocabulary lacks "
        f"them{so}"
        for some, part, so in (
            ("27 of 81", "training", ""),
            ("3 of 9", "validation", ", so bits per character cannot be compared"),
        )
    ]


def test_in_memory_is_as_in_files(tmp_path: Path) -> None:
    path = ordered_names(tmp_path)
    choices = Choices(documents="lines", shuffle=True, seed=3)
    data, _ = prepare_in_memory([path], BPETokenizer(max_vocab_size=270), choices=choices)
    other, _ = prepared(
        tmp_path, path, documents="lines", shuffle=True, seed=3, tokenizer=BPETokenizer(max_vocab_size=270)
    )
    assert data.meta == other.meta
    np.testing.assert_array_equal(data.train, other.train)
    np.testing.assert_array_equal(data.validation, other.validation)


# Long pieces


def dna(letters: int) -> str:
    return "".join(np.random.default_rng(0).choice([*"ACGT"], letters))


def test_a_text_that_is_one_word_is_refused_for_words_and_read_by_the_others(tmp_path: Path) -> None:
    path = written(tmp_path / "dna.txt", dna(300_000))
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, path, tokenizer=make_tokenizer("word"))
    assert str(caught.value).startswith("most of the training text is one word of 270,000 letters, 'TGGCC")
    assert str(caught.value).endswith("; choose --tokenizer char or bpe")
    for name in ("char", "bpe"):
        data, made = prepared(tmp_path / name, path, tokenizer=make_tokenizer(name, None if name == "char" else 300))
        whole = data.tokenizer.decode(data.train) + data.tokenizer.decode(data.validation)
        assert whole == path.read_text()
        assert made.notes == ()


def test_lines_of_dna_are_long_words_and_said_to_be(tmp_path: Path) -> None:
    lines = written(tmp_path / "dna.fasta", "\n".join(dna(70 * 80)[i : i + 70] for i in range(0, 70 * 80, 70)))
    _, made = prepared(tmp_path, lines, tokenizer=make_tokenizer("word"))
    assert made.notes[0].startswith("the words of the training text have 70 letters on average, because words end at ")
    chinese = written(tmp_path / "zh.txt", "混沌未分天地乱,茫茫渺渺无人见。自从盘古破鸿蒙,开辟从兹清浊辨。\n" * 20)
    _, made = prepared(tmp_path / "zh", chinese, tokenizer=make_tokenizer("word"))
    assert made.notes == ()
    code = written(tmp_path / "key.txt", "words and words " * 200 + "x" * 1500 + " and words" * 200)
    _, made = prepared(tmp_path / "code", code, tokenizer=make_tokenizer("word"))
    assert made.notes == ()  # one long word among others does no harm
