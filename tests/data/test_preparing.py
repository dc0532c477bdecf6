"""Token files of texts larger than memory: the same as made in memory, with any workers, and complete or absent."""

import hashlib
import io
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TEXT

from handgrad.data import (
    Corpus,
    Stream,
    TokenData,
    count_unknown,
    encode_corpus,
    load_text,
    open_token_files,
    prepare_token_files,
    write_token_files,
)
from handgrad.data.token_files import write_ids
from handgrad.data.workers import Pool, Workers, available_cores, choose_workers
from handgrad.system.backend_setting import chosen_backend, use_backend
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer, counting, make_tokenizer
from handgrad.tokenizers.kernel_choice import can_be_compiled


def spaced() -> Tokenizer:
    """A tokenizer that puts a space before a text, but must not put one between its chunks."""
    tokenizer = BPETokenizer(max_vocab_size=400)
    tokenizer._set(replace(tokenizer._pairs, prefix_space=True))
    return tokenizer


MAKE: dict[str, Callable[[], Tokenizer]] = {
    "char": CharTokenizer,
    "word": lambda: make_tokenizer("word", 1000),
    "bpe": lambda: BPETokenizer(max_vocab_size=400),
    "gpt4": lambda: BPETokenizer(max_vocab_size=400, pattern="gpt4"),
    "spaced": spaced,
}
LINES = [f"line {i}: {'the quick brown fox'[: i % 19]}, isn't it?  {i * 37}\n" for i in range(2000)]


def content_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def prepared(directory: Path, *texts: str | bytes, tokenizer: Tokenizer | None = None, **options: object) -> TokenData:
    """Prepares texts, each as a document, in small chunks."""
    for number, text in enumerate(texts):
        (directory / f"{number}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    paths = [directory / f"{number}.txt" for number in range(len(texts))]
    settings = {"chunk_bytes": 64, "workers": Workers("here"), **options}
    prepare_token_files(paths, directory / "out", tokenizer or CharTokenizer(), **settings)  # type: ignore[arg-type]
    return open_token_files(directory / "out")


# The same as in memory


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_shakespeare_is_prepared_in_chunks_as_in_memory(name: str, shakespeare: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(shakespeare.read_bytes()[: None if name == "char" else 300_000])
    corpus = load_text(tmp_path / "text.txt")
    write_token_files(tmp_path / "memory", encode_corpus(corpus, MAKE[name]().train(corpus.split()[0])))
    workers = Workers("threads", 2)
    made = prepare_token_files(
        [tmp_path / "text.txt"], tmp_path / "chunks", MAKE[name](), chunk_bytes=20_000, workers=workers
    )
    assert content_of(tmp_path / "chunks") == content_of(tmp_path / "memory")
    assert (made.documents, made.unknown) == (1, 0)
    assert made.meta.corpus_sha256 == corpus.sha256


@pytest.mark.parametrize("name", MAKE)
@settings(deadline=None, max_examples=15)
@given(parts=st.lists(st.text("ab1!' é我\n", max_size=8), min_size=1, max_size=60))
def test_any_text_is_prepared_in_chunks_as_in_memory(
    name: str, parts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("any")
    text = "x\ny".join(["", *parts])
    data = prepared(directory, text, tokenizer=MAKE[name]())
    corpus = Corpus(text, str(directory / "0.txt"))
    expected = encode_corpus(corpus, MAKE[name]().train(corpus.split()[0]))
    assert data.meta == expected.meta
    np.testing.assert_array_equal(data.train, expected.train)
    np.testing.assert_array_equal(data.validation, expected.validation)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 12345])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_a_token_file_is_what_numpy_would_have_written(tmp_path: Path, count: int, dtype: type) -> None:
    ids = np.arange(count).astype(np.int32)
    write_ids(tmp_path / "ids.npy", np.dtype(dtype), np.array_split(ids, 4))
    expected = io.BytesIO()
    np.save(expected, ids.astype(dtype))
    assert (tmp_path / "ids.npy").read_bytes() == expected.getvalue()


# Documents


def test_an_end_stands_between_documents_and_only_there(tmp_path: Path) -> None:
    data = prepared(tmp_path, "aaaa", "", "bb", b"\xef\xbb\xbf", "cccccccccc", "dd", "ee")
    assert data.tokenizer.decode(data.train) == "aaaa<eos>bb<eos>cccccccccc<eos>dd"  # cut between two documents
    assert data.tokenizer.decode(data.validation) == "<unk><unk>"
    assert data.meta.corpus_sha256 == hashlib.sha256(b"aaaa\xffbb\xffcccccccccc\xffdd\xffee").hexdigest()
    assert (data.meta.train_tokens, data.meta.train_characters, data.meta.validation_characters) == (21, 18, 2)


def test_a_document_across_the_cut_is_cut_there(tmp_path: Path) -> None:
    data = prepared(tmp_path, "é" * 5, "éa" * 5, "a" * 5, chunk_bytes=5)
    assert data.tokenizer.decode(data.train) == "é" * 5 + "<eos>" + "éa" * 5 + "<eos>" + "aaa"
    assert data.tokenizer.decode(data.validation) == "aa"


@pytest.mark.parametrize("chunk_bytes", [4, 50, 1000])
def test_short_documents_keep_their_ends(tmp_path: Path, chunk_bytes: int) -> None:
    texts = [f"text number {i}." for i in range(50)]
    data = prepared(tmp_path, *texts, chunk_bytes=chunk_bytes)
    joined = data.tokenizer.decode(data.train) + data.tokenizer.decode(data.validation)
    assert joined == "<eos>".join(texts)


def test_documents_need_an_end(tmp_path: Path) -> None:
    class Endless(CharTokenizer):
        eos_id = None

    with pytest.raises(
        InputError, match=r"^2 documents need a token between them, and this char tokenizer has no <eos>"
    ):
        prepared(tmp_path, "a" * 20, "b" * 20, tokenizer=Endless())
    assert len(prepared(tmp_path, "a" * 20, tokenizer=Endless()).train) == 18


def test_a_tokenizer_that_has_learned_is_taken_as_it_is_and_what_it_does_not_know_counted(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a" * 45 + "bb" + "a" * 40 + "cccaaaaaaaaaaaa")
    made = prepare_token_files(
        [tmp_path / "text.txt"], tmp_path / "out", CharTokenizer("a"), learn=False, chunk_bytes=8
    )
    assert made.unknown == 5
    assert open_token_files(tmp_path / "out").tokenizer == CharTokenizer("a")  # as it was


@pytest.mark.parametrize(("where", "lossless"), [(89, True), (90, False), (99, False)])
def test_validation_alone_decides_whether_anything_is_lost(tmp_path: Path, where: int, lossless: bool) -> None:
    text = "a" * where + "?" + "a" * (99 - where)
    (tmp_path / "text.txt").write_text(text)
    made = prepare_token_files(
        [tmp_path / "text.txt"], tmp_path / "out", CharTokenizer("a"), learn=False, chunk_bytes=8
    )
    assert (made.meta.validation_lossless, made.unknown) == (lossless, 1)


def test_text_that_is_left_out_is_lost() -> None:
    class Deaf(CharTokenizer):
        def _encode(self, text: str) -> np.ndarray:
            return super()._encode(text.replace("?", ""))

    for text, lossless in (("a" * 100, True), ("a" * 99 + "?", False), ("a" * 92 + "?" * 8, False)):
        assert encode_corpus(Corpus(text, ""), Deaf("a")).meta.validation_lossless is lossless


def test_a_tokenizer_that_knows_nothing_unknown_counts_none() -> None:
    class Knowing(CharTokenizer):
        unk_id = None

    ids = np.array([0, 1, 1, 4])
    assert (count_unknown(CharTokenizer("a"), ids), count_unknown(Knowing("a"), ids)) == (2, 0)


# Whoever does the work


@pytest.mark.parametrize("name", ["word", "bpe"])
def test_the_files_are_the_same_whoever_does_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_KEPT", 1500)  # so that rare pieces are forgotten, which depends on the order
    path = tmp_path / "text.txt"
    path.write_text("".join(LINES))
    made = []
    for number, workers in enumerate(
        [Workers("here"), Workers("threads", 1), Workers("threads", 5), Workers("processes", 2)]
    ):
        out = tmp_path / str(number)
        prepare_token_files([path], out, MAKE[name](), workers=workers, chunk_bytes=2000)
        made.append(content_of(out))
    assert all(files == made[0] for files in made)
    assert len(made[0]["train.npy"]) > 10_000


def doubled(shared: int, item: int) -> int:
    if item < 0:
        raise InputError("an item is negative")
    return shared * item


def ended(shared: int, item: int) -> int:
    os._exit(1)


def interrupted(shared: int, item: int) -> bool:
    """Whether interrupts have been blocked since the process began."""
    os.kill(os.getpid(), signal.SIGINT)
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("workers", [Workers("here"), Workers("threads", 3), Workers("processes", 2)])
def test_a_pool_gives_results_in_order_and_takes_items_as_it_goes(workers: Workers) -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(50):
            taken.append(i)
            yield i

    with Pool(2, workers) as pool:
        results = pool.map(doubled, items())
        assert next(results) == 0
        assert len(taken) <= workers.count + 2
        assert list(results) == [2 * i for i in range(1, 50)]
        with pytest.raises(InputError, match=r"^an item is negative$"):
            list(pool.map(doubled, [1, -1, 1]))


def in_force(shared: int, item: int) -> tuple[str | None, bool]:
    return chosen_backend(), can_be_compiled()


def test_processes_use_the_backend_that_their_parent_was_told_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDGRAD_BACKEND", "numba")  # the processes read it too
    try:
        for name in ("numpy", None):
            use_backend(name)
            with Pool(2, Workers("processes", 1)) as pool:
                assert list(pool.map(in_force, [0])) == [in_force(2, 0)]
            assert in_force(2, 0)[0] == (name or "numba")
    finally:
        monkeypatch.undo()
        use_backend(None)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_an_interrupt_is_not_for_the_processes_to_answer() -> None:
    """Ctrl-C reaches all processes of a terminal, even those that have only just started."""
    with Pool(2, Workers("processes", 2)) as pool:
        assert list(pool.map(interrupted, range(4))) == [True] * 4
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_process_that_is_ended_from_outside_is_one_sentence() -> None:
    with Pool(2, Workers("processes", 1)) as pool, pytest.raises(InputError, match="was killed from outside"):
        list(pool.map(ended, [1, 2]))


def test_who_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_cores() >= 1
    monkeypatch.setattr("handgrad.data.workers.available_cores", lambda: 64)
    assert choose_workers(True, 1).kind == "threads"
    assert choose_workers(False, 1 << 20) == Workers("here")
    assert choose_workers(False, 1 << 30) == Workers("processes", 6)
    monkeypatch.setattr("handgrad.data.workers.available_cores", lambda: 1)
    assert choose_workers(True, 1 << 30) == choose_workers(False, 1 << 30) == Workers("here")


def test_the_text_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 1500)
    tracemalloc.start()
    prepare_token_files([path], tmp_path / "out", CharTokenizer(), workers=Workers("here"), chunk_bytes=1 << 14)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 4_900_000
    assert peak < 2_000_000


# Whole or not at all


def test_out_may_be_an_empty_directory_or_lie_in_new_ones(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "new" / "newer" / "out"):
        prepare_token_files([Stream(io.BytesIO(TEXT.encode()), "a pipe")], out, CharTokenizer())
        assert open_token_files(out).meta.source == "a pipe"
        assert sorted(content_of(out)) == ["meta.json", "tokenizer.json", "train.npy", "validation.npy"]
        assert sorted(path.name for path in out.parent.iterdir()) in (["empty"], ["out"])


@pytest.mark.parametrize("pass_", ["receiving", "reading", "counting", "learning", "encoding"])
@pytest.mark.parametrize("kind", ["here", "threads"])
def test_an_interrupt_leaves_nothing(tmp_path: Path, pass_: str, kind: str) -> None:
    def interrupt(doing: str, done: int, total: int | None) -> None:
        if doing.startswith(pass_) and (done > 0 or pass_ == "learning"):
            raise KeyboardInterrupt

    stream = Stream(io.BytesIO(TEXT.encode()), "a pipe")
    with pytest.raises(KeyboardInterrupt):
        prepare_token_files(
            [stream],
            tmp_path / "new" / "out",
            WordTokenizer(),
            report=interrupt,
            workers=Workers(kind, 2),  # type: ignore[arg-type]
            chunk_bytes=500,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("é" * 1000, encoding="utf-8")

    def change(doing: str, done: int, total: int | None) -> None:
        if doing == "encoding":
            path.write_text("è" * 1000, encoding="utf-8")

    with pytest.raises(InputError, match=r"text\.txt was changed while it was read; start again"):
        prepare_token_files([path], tmp_path / "out", CharTokenizer(), report=change, chunk_bytes=100)
    assert list(tmp_path.iterdir()) == [path]
