"""Turns texts that may be larger than memory into token files, in three passes: reading, learning, encoding."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from handgrad.data.documents import CHUNK_BYTES, Chunk, Report, Stream, chunks_in_groups, find_documents, survey
from handgrad.data.token_files import (
    TRAIN,
    VALIDATION,
    Encoded,
    Meta,
    Tally,
    describe,
    encode_text,
    token_dtype,
    write_ids,
    write_the_rest,
)
from handgrad.data.workers import Pool, Workers, choose_workers
from handgrad.system.arrays import Array
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


def no_report(doing: str, done: int, total: int | None) -> None:
    """Ignores all progress."""


def prepare_token_files(
    texts: Sequence[Path | Stream],
    out: Path,
    tokenizer: Tokenizer,
    *,
    learn: bool = True,
    report: Report = no_report,
    workers: Workers | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Prepared:
    """Writes the token files of these texts to the new or empty directory ``out``, in one step at the very end.

    Each file is a document; <eos> separates documents. If ``learn``, the tokenizer first learns from the training part.
    The files do not depend on ``workers``. By default the text and the tokenizer determine the workers. For a long text
    they may be processes, so a script must put its own work under ``if __name__ == "__main__"``.

    Raises InputError if a text cannot be read or is not UTF-8, or if ``out`` is not new or empty.
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
            return _prepare(texts, place, temporary, tokenizer, learn, report, workers, chunk_bytes)
    except OSError as error:
        if not str(error.filename).startswith(str(beside / prefix)):
            raise
        raise OSError(error.errno, error.strerror, str(out)) from None  # the name that the caller gave


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
    learn: bool,
    report: Report,
    workers: Workers | None,
    chunk_bytes: int,
) -> Prepared:
    found = survey(find_documents(texts, temporary, report), report, chunk_bytes)
    if found.documents > 1 and tokenizer.eos_id is None:
        raise InputError(
            f"{found.documents} documents need a token between them, and this {tokenizer.kind} tokenizer has no <eos>; "
            "give one document or another tokenizer"
        )
    train, validation = ([*chunks_in_groups(part, chunk_bytes)] for part in found.split())
    chosen = workers or choose_workers(tokenizer.releases_the_lock, _size(train) + _size(validation))
    if learn:
        counts = _count(tokenizer, train, chosen, report)
        report("learning the vocabulary", 0, None)
        tokenizer.learn(counts)
        del counts  # the largest object in memory
    written = temporary / "tokens"
    written.mkdir()
    tallies, hashes = _encode(tokenizer, train, validation, written, chosen, report)
    meta = describe(_source(texts), found.sha256, tokenizer, *tallies, hashes)
    write_the_rest(written, tokenizer, meta)
    out.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt" and out.exists():
        out.rmdir()  # other systems replace an empty directory
    os.replace(written, out)
    flush_directory(out.parent)
    return Prepared(meta, found.documents, sum(tally.unknown for tally in tallies))


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
) -> tuple[tuple[Tally, Tally], tuple[str, str]]:
    """Writes both token files; returns their tallies and their hashes."""
    total, done = _size(train) + _size(validation), 0
    report("encoding", 0, total)

    def ids(batches: list[list[Chunk]], tally: Tally, check: bool) -> Iterator[Array]:
        nonlocal done
        parts = pool.map(partial(_encode_batch, check=check), batches)
        for batch, part in zip(batches, parts, strict=True):
            tally.add(part)
            yield part.ids
            done += _size([batch])
            report("encoding", done, total)

    tallies = Tally(), Tally()
    with Pool(tokenizer, workers) as pool:
        hashes = (
            write_ids(directory / TRAIN, token_dtype(tokenizer), ids(train, tallies[0], False)),
            write_ids(directory / VALIDATION, token_dtype(tokenizer), ids(validation, tallies[1], True)),
        )
    return tallies, hashes


def _count_batch(tokenizer: Tokenizer, batch: list[Chunk]) -> Counter[str]:
    return tokenizer.count([chunk.text() for chunk in batch])


def _encode_batch(tokenizer: Tokenizer, batch: list[Chunk], check: bool) -> Encoded:
    """The tokens of these chunks, with <eos> between documents."""
    end = np.array([tokenizer.eos_id] if tokenizer.eos_id is not None else [], token_dtype(tokenizer))
    ids: list[Array] = []
    tally = Tally()
    for chunk in batch:
        part = encode_text(tokenizer, chunk.text(), check, chunk.goes_on)
        ids += [end, part.ids] if chunk.separated else [part.ids]
        tally.add(part)
    return Encoded(np.concatenate(ids), tally.characters, tally.unknown, tally.lossless)


def _size(batches: list[list[Chunk]]) -> int:
    return sum(chunk.n_bytes for batch in batches for chunk in batch)


def _source(texts: Sequence[Path | Stream]) -> str:
    """The names of the texts, in valid UTF-8 even if file names are not."""
    names = [text.name if isinstance(text, Stream) else str(text) for text in texts]
    shown = ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
    return shown.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
