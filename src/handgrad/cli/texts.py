"""The flags that say what a text is, for the commands that read raw texts, and the texts that they name."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.console import standard_input
from handgrad.data import Choices, Prepared, Stream, load_dataset
from handgrad.system.encodings import LineEnds
from handgrad.system.errors import InputError
from handgrad.tokenizers import KINDS, Tokenizer, load_tokenizer

STANDARD_INPUT = Path("-")
_PATTERNS = tyro.conf.arg(metavar="PATTERN ...")


@dataclass
class TextFlags:
    """What is a document, which files are read and how, and what is for validation."""

    documents: Annotated[str, tyro.conf.arg(metavar="files|lines|jsonl:FIELD")] = "files"
    """What a document is: a file, a line, or a field of the JSON object in each line, such as jsonl:text."""
    val_text: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...")] = ()
    """The validation text; all other text is then for training."""
    val_fraction: float = 0.1
    """The last part of the text that is for validation, if there is no --val-text."""
    shuffle_documents: bool = False
    """Put the documents in random order, by --seed, before the validation part is cut off."""
    include: Annotated[tuple[str, ...], _PATTERNS] = ()
    """Read only those files of a directory whose name or path matches a pattern, such as *.txt."""
    exclude: Annotated[tuple[str, ...], _PATTERNS] = ()
    """Skip the files of a directory whose name or path matches a pattern."""
    encoding: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The encoding of the text, such as latin-1 or gb18030. UTF-8, UTF-16 and UTF-32 need no name."""
    line_ends: LineEnds = "keep"
    """unix reads the line ends of Windows as line feeds."""

    def choices(self, seed: int) -> Choices:
        """The same for the library. Raises InputError for an invalid value."""
        return Choices(
            documents=self.documents,
            val_texts=self.val_text,
            val_fraction=self.val_fraction,
            shuffle=self.shuffle_documents,
            seed=seed,
            include=self.include,
            exclude=self.exclude,
            encoding=self.encoding,
            line_ends=self.line_ends,
        )

    def given(self) -> list[str]:
        """The flags that differ from their defaults."""
        own = fields(TextFlags)
        return ["--" + one.name.replace("_", "-") for one in own if getattr(self, one.name) != one.default]


def texts_of(paths: Sequence[Path], dataset: str | None) -> list[Path | Stream]:
    """The texts at these paths, of which - is standard input, or a data set by name.

    Raises InputError if standard input is named twice or is closed, or if there is no such data set.
    """
    if dataset is not None:
        corpus = load_dataset(dataset)
        return [Stream(io.BytesIO(corpus.text.encode("utf-8", "replace")), corpus.source)]
    if [*paths].count(STANDARD_INPUT) > 1:
        raise InputError("standard input can be read only once; name - once")
    return [Stream(standard_input(), "standard input") if path == STANDARD_INPUT else path for path in paths]


def named_tokenizer(named: str, clashes: Sequence[str] = ()) -> Tokenizer | None:
    """The tokenizer in a file; None if a kind of tokenizer is named instead.

    ``clashes``: flags that were given and belong to a tokenizer that is still to learn. Raises InputError if there are
    some, and for a name that is neither a kind nor a file.
    """
    if named in KINDS:
        return None
    if not is_path(named):
        raise InputError(
            f"unknown tokenizer {named!r}; choose from {', '.join(KINDS)}, or the path of a tokenizer.json"
        )
    if clashes:
        raise InputError(f"the vocabulary comes with {named}; {clashes[0]} cannot be given with it")
    return load_tokenizer(named)


def is_path(named: str) -> bool:
    """Whether the value of --tokenizer is meant as a path."""
    return named not in KINDS and (Path(named).suffix != "" or Path(named).exists() or len(Path(named).parts) > 1)


def skipped_files(prepared: Prepared) -> str | None:
    """Says which files of directories prepare skipped; None if it skipped no file."""
    skipped = prepared.skipped
    parts = []
    if skipped.not_text:
        shown = "; ".join(f"{name} is {what}" for name, what in skipped.not_text[:3])
        more = len(skipped.not_text) - 3
        parts.append(f"{len(skipped.not_text):,} not text ({shown}{f'; and {more:,} more' if more > 0 else ''})")
    if skipped.by_pattern:
        parts.append(f"{skipped.by_pattern:,} by --include and --exclude")
    return ", ".join(parts) or None
