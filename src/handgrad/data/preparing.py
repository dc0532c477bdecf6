"""Turns texts that may be larger than memory into token files, in three passes: reading, learning, encoding."""

import contextlib
import glob
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from handgrad.data.documents import CHUNK_BYTES, Chunk, Report, Survey, chunks_in_groups, survey
from handgrad.data.finding import Choices, Skipped, Stream, find_documents
from handgrad.data.notes import note_on_words, notes_on
from handgrad.data.token_files import (
    TRAIN,
    VALIDATION,
    Encoded,
    Meta,
    Tally,
    TokenData,
    describe,
    encode_text,
    open_token_files,
    token_dtype,
    write_ids,
    write_the_rest,
)
from handgrad.data.workers import Pool, Workers, choose_workers
from handgrad.system.arrays import Array
from handgrad.system.encodings import NotUtf8Error
from handgrad.system.errors import InputError
from handgrad.system.files import check_new_or_empty, flush_directory
from handgrad.system.locks import LOCK, is_a_lock, locked
from handgrad.tokenizers import Tokenizer
from handgrad.tokenizers.counting import PieceCounts

_SUFFIX = ".prepare.tmp"
"""Ends the name of the temporary directory."""


@dataclass(frozen=True)
class Prepared:
    """The result of ``prepare_token_files``."""

    meta: Meta
    documents: int
    unknown: int
    """How many tokens stand for unknown text."""
    notes: tuple[str, ...] = ()
    """What the user should know about the text, a sentence each."""
    skipped: Skipped = field(default_factory=Skipped)


def no_report(doing: str, done: int, total: int | None) -> None:
    """Ignores all progress."""


def prepare_token_files(
    texts: Sequence[Path | Stream],
    out: Path,
    tokenizer: Tokenizer,
    *,
    choices: Choices | None = None,
    learn: bool = True,
    report: Report = no_report,
    workers: Workers | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Prepared:
    """Writes the token files of these texts to the new or empty directory ``out``, in one step at the very end.

    ``choices`` say what a document is (by default a file), and which are for validation; <eos> separates documents.
    If ``learn``, the tokenizer first learns from the training part.
    The files do not depend on ``workers``. By default the text and the tokenizer determine the workers. For a long text
    they may be processes, so a script must put its own work under ``if __name__ == "__main__"``.

    Raises InputError if a text cannot be read or decoded, or if ``out`` is not new or empty.
    """
    check_is_empty(out)
    place = out.resolve()
    beside = next(path for path in place.parents if path.exists())
    if not beside.is_dir():
        raise InputError(f"{out} cannot be created: {beside} is not a directory")
    prefix = f".{place.name}-"
    _clear_leftovers(beside, prefix)
    try:
        with _temporary(beside, prefix) as temporary:
            return _prepare(
                texts, place, temporary, tokenizer, choices or Choices(), learn, report, workers, chunk_bytes
            )
    except OSError as error:
        if not str(error.filename).startswith(str(beside / prefix)):
            raise
        raise OSError(error.errno, error.strerror, str(out)) from None  # the name that the caller gave


def prepare_in_memory(
    texts: Sequence[Path | Stream],
    tokenizer: Tokenizer,
    *,
    choices: Choices | None = None,
    learn: bool = True,
) -> tuple[TokenData, Prepared]:
    """What ``prepare_token_files`` writes, in memory. Raises what it raises."""
    with tempfile.TemporaryDirectory(prefix="handgrad-", ignore_cleanup_errors=True) as temporary:
        prepared = prepare_token_files(texts, Path(temporary) / "tokens", tokenizer, choices=choices, learn=learn)
        data = open_token_files(Path(temporary) / "tokens")
        train, validation = np.array(data.train), np.array(data.validation)
    return TokenData(train, validation, tokenizer, data.meta), prepared


@contextlib.contextmanager
def _temporary(beside: Path, prefix: str) -> Iterator[Path]:
    """A locked directory, which is removed at the end. If the process is killed, the next one finds it unlocked."""
    temporary = Path(tempfile.mkdtemp(_SUFFIX, prefix, beside))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)  # while it is locked, or if it cannot be
        with contextlib.suppress(InputError):  # a file system without locks
            lock = stack.enter_context(contextlib.ExitStack())
            lock.enter_context(locked(temporary))
            lock.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary


def _clear_leftovers(beside: Path, prefix: str) -> None:
    """Removes what killed processes left while they prepared the same directory: nobody holds its lock any more."""
    for left in beside.glob(f"{glob.escape(prefix)}*{_SUFFIX}"):
        if left.is_symlink() or not is_a_lock(left / LOCK):  # another's, or just being made
            continue
        with contextlib.suppress(InputError, OSError), locked(left) as stale:
            if stale is not None:
                shutil.rmtree(left, ignore_errors=True)


def check_is_empty(out: Path) -> None:
    """Raises InputError if token files cannot be written to ``out`` because something is there already."""
    check_new_or_empty(out)
    if out.is_mount():
        raise InputError(f"{out} is a mount point and cannot be replaced; choose a directory below it")


def _prepare(
    texts: Sequence[Path | Stream],
    out: Path,
    temporary: Path,
    tokenizer: Tokenizer,
    choices: Choices,
    learn: bool,
    report: Report,
    workers: Workers | None,
    chunk_bytes: int,
) -> Prepared:
    skipped = Skipped()
    found = _surveyed(texts, temporary, choices, report, chunk_bytes, skipped)
    if found.documents > 1 and tokenizer.eos_id is None:
        raise InputError(
            f"{found.documents} documents need a token between them, and this {tokenizer.kind} tokenizer has no <eos>; "
            "give one document or another tokenizer"
        )
    parts, sha256, documents = found.split(choices.val_fraction), found.sha256, found.documents
    if choices.val_texts:
        other = _surveyed(choices.val_texts, temporary, choices, report, chunk_bytes, skipped)
        parts, documents = (found.chunks, other.chunks), documents + other.documents
        sha256 = hashlib.sha256(f"{sha256} {other.sha256}".encode()).hexdigest()
    train, validation = ([*chunks_in_groups(part, chunk_bytes)] for part in parts)
    chosen = workers or choose_workers(tokenizer.releases_the_lock, _size(train) + _size(validation))
    words: tuple[str, ...] = ()
    if learn:
        counts = _count(tokenizer, train, chosen, report)
        report("learning the vocabulary", 0, None)
        words = note_on_words(tokenizer, counts)
        tokenizer.learn(counts)
        del counts  # the largest object in memory
    written = temporary / "tokens"
    written.mkdir()
    tallies, hashes, seen = _encode(tokenizer, train, validation, written, chosen, report)
    kind = choices.kind if found.documents > 1 else ""
    meta = describe(_source(texts), sha256, tokenizer, *tallies, hashes, kind)
    write_the_rest(written, tokenizer, meta)
    out.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt" and out.exists():
        out.rmdir()  # other systems replace an empty directory
    os.replace(written, out)
    flush_directory(out.parent)
    notes = words + notes_on(tokenizer, learn, tallies, seen, found.windows, documents)
    return Prepared(meta, documents, sum(tally.unknown for tally in tallies), notes, skipped)


def _surveyed(
    texts: Sequence[Path | Stream],
    spool: Path,
    choices: Choices,
    report: Report,
    chunk_bytes: int,
    skipped: Skipped,
) -> Survey:
    try:
        return survey(find_documents(texts, spool, report, choices, skipped), report, chunk_bytes)
    except NotUtf8Error as error:
        raise InputError(f"{error}, or name its encoding: --encoding {error.likely.lower()}") from None


def _count(tokenizer: Tokenizer, train: list[list[Chunk]], workers: Workers, report: Report) -> PieceCounts:
    counts, done, total = PieceCounts(), 0, _size(train)
    report("counting", 0, total)
    with Pool(tokenizer, workers) as pool:
        for batch, counted in zip(train, pool.map(_count_batch, train), strict=True):
            counts.add(counted)  # in the order of the text: which pieces are forgotten must not depend on the workers
            done += _size([batch])
            report("counting", done, total)
    return counts


def _encode(
    tokenizer: Tokenizer,
    train: list[list[Chunk]],
    validation: list[list[Chunk]],
    directory: Path,
    workers: Workers,
    report: Report,
) -> tuple[tuple[Tally, Tally], tuple[str, str], tuple[Array, Array]]:
    """Writes both token files; returns their tallies, their hashes, and how often each token occurs in them."""
    total, done = _size(train) + _size(validation), 0
    report("encoding", 0, total)

    def ids(batches: list[list[Chunk]], tally: Tally, seen: Array, check: bool) -> Iterator[Array]:
        nonlocal done
        parts = pool.map(partial(_encode_batch, check=check), batches)
        for batch, part in zip(batches, parts, strict=True):
            tally.add(part)
            seen += np.bincount(part.ids, minlength=len(seen))
            yield part.ids
            done += _size([batch])
            report("encoding", done, total)

    tallies = Tally(), Tally()
    seen = np.zeros(tokenizer.vocab_size, np.int64), np.zeros(tokenizer.vocab_size, np.int64)
    with Pool(tokenizer, workers) as pool:
        hashes = (
            write_ids(directory / TRAIN, token_dtype(tokenizer), ids(train, tallies[0], seen[0], False)),
            write_ids(directory / VALIDATION, token_dtype(tokenizer), ids(validation, tallies[1], seen[1], True)),
        )
    return tallies, hashes, seen


def _count_batch(tokenizer: Tokenizer, batch: list[Chunk]) -> Counter[str]:
    return tokenizer.count([text for chunk in batch for text in chunk.texts()])


def _encode_batch(tokenizer: Tokenizer, batch: list[Chunk], check: bool) -> Encoded:
    """The tokens of these chunks, with <eos> between documents."""
    end = np.array([tokenizer.eos_id] if tokenizer.eos_id is not None else [], token_dtype(tokenizer))
    ids: list[Array] = []
    tally = Tally()
    for chunk in batch:
        for number, text in enumerate(chunk.texts()):
            part = encode_text(tokenizer, text, check, chunk.goes_on and number == 0)
            ids += [end, part.ids] if number > 0 or chunk.separated else [part.ids]
            tally.add(part)
    return Encoded(np.concatenate(ids), tally.characters, tally.unknown, tally.lossless, tally.unknown_text)


def _size(batches: list[list[Chunk]]) -> int:
    return sum(chunk.n_bytes for batch in batches for chunk in batch)


def _source(texts: Sequence[Path | Stream]) -> str:
    """The names of the texts, in valid UTF-8 even if file names are not."""
    names = [text.name if isinstance(text, Stream) else str(text) for text in texts]
    shown = ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
    return shown.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
