"""handgrad prepare: turns texts, which may be larger than memory, into token files."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from handgrad.cli.arguments import parse
from handgrad.cli.console import make_console, standard_input
from handgrad.cli.help import Help
from handgrad.cli.interrupts import sigterm_raises
from handgrad.cli.main import OK
from handgrad.cli.terminal import show, shown_as_text
from handgrad.data import Prepared, Stream, check_is_empty, load_dataset, prepare_token_files
from handgrad.system.errors import InputError
from handgrad.tokenizers import KINDS, Tokenizer, load_tokenizer, make_tokenizer

_STANDARD_INPUT = Path("-")


@dataclass
class Arguments:
    """Turn texts into token files for `handgrad train --data DIR`. Texts may be larger than memory."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The directory to write, which must be new or empty."""
    standard_input: Annotated[tyro.conf.Positional[Literal["-"] | None], tyro.conf.arg(metavar="-")] = None
    """Read the text from standard input."""
    text: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...")] = ()
    """UTF-8 files, and directories of UTF-8 files; each file is a document. - is standard input."""
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A text by name: functions, pydoc or shakespeare."""
    tokenizer: Annotated[str, tyro.conf.arg(metavar="char|word|bpe|FILE")] = "char"
    """A kind of tokenizer, which learns its vocabulary from the text; or a tokenizer.json, which is used as it is."""
    vocab_size: int | None = None
    """The largest vocabulary that the tokenizer may learn, special tokens included."""


_HELP = Help(
    examples=(
        (
            "handgrad prepare --text books/ --tokenizer bpe --vocab-size 5000 --out tokens",
            "Encode a directory of texts with a new byte-pair vocabulary.",
        ),
        ("handgrad train --data tokens", "Train on the token files."),
    )
)


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "prepare", extra=_HELP)
    check_is_empty(arguments.out)
    tokenizer, learn = _tokenizer(arguments.tokenizer, arguments.vocab_size)
    texts = _texts(arguments)
    with sigterm_raises(), PreparingDisplay(make_console()) as display:
        prepared = prepare_token_files(texts, arguments.out, tokenizer, learn=learn, report=display.report)
    for name, value in _summary(prepared, arguments.out).items():
        show(f"{name:22}{value}")
    return OK


class _OfBytes(ProgressColumn):
    """A column that is empty while the number of bytes is unknown."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self.column = column

    def render(self, task: Task) -> RenderableType:
        return self.column(task) if task.total else Text()


class PreparingDisplay:
    """Shows a progress bar for each pass on a terminal, and nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self.live = Progress(
            TextColumn("{task.description:24}", markup=False),
            BarColumn(bar_width=20),
            _OfBytes(DownloadColumn()),
            _OfBytes(TransferSpeedColumn()),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def report(self, doing: str, done: int, total: int | None) -> None:
        """Shows that ``done`` of ``total`` bytes are processed in the pass ``doing``."""
        doing = shown_as_text(doing)  # it may name a file
        if doing not in self._tasks:
            self._finish_unknown_totals()
            self._tasks[doing] = self.live.add_task(doing, total=total)
        self.live.update(self._tasks[doing], completed=done)

    def _finish_unknown_totals(self) -> None:
        """The next pass has begun, so an earlier pass over an unknown number of bytes is finished."""
        for task in self.live.tasks:
            if task.total is None:
                self.live.update(task.id, total=task.completed)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()


def _texts(arguments: Arguments) -> list[Path | Stream]:
    texts = [*arguments.text, *([_STANDARD_INPUT] if arguments.standard_input else [])]
    if bool(texts) == (arguments.dataset is not None):
        raise InputError("prepare: give either --text PATH ..., - for standard input, or --dataset NAME")
    if arguments.dataset is not None:
        corpus = load_dataset(arguments.dataset)
        return [Stream(io.BytesIO(corpus.text.encode()), corpus.source)]
    if texts.count(_STANDARD_INPUT) > 1:
        raise InputError("prepare: standard input can be read only once; name - once")
    return [Stream(standard_input(), "standard input") if path == _STANDARD_INPUT else path for path in texts]


def _tokenizer(named: str, vocab_size: int | None) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether it must still learn its vocabulary."""
    if named in KINDS:
        return make_tokenizer(named, vocab_size), True
    if not named.endswith(".json") and not Path(named).exists():
        raise InputError(
            f"unknown tokenizer {named!r}; choose from {', '.join(KINDS)}, or the path of a tokenizer.json"
        )
    if vocab_size is not None:
        raise InputError(f"the vocabulary comes with {named}; --vocab-size cannot be given with it")
    return load_tokenizer(named), False


def _summary(prepared: Prepared, out: Path) -> dict[str, str]:
    meta = prepared.meta
    characters = meta.train_characters + meta.validation_characters
    tokens = meta.train_tokens + meta.validation_tokens
    return {
        "documents": f"{prepared.documents:,}",
        "characters": f"{characters:,}",
        "training tokens": f"{meta.train_tokens:,}",
        "validation tokens": f"{meta.validation_tokens:,}",
        "characters per token": f"{characters / max(tokens, 1):.2f}",
        "unknown tokens": f"{prepared.unknown:,} ({prepared.unknown / max(tokens, 1):.2%})",
        "vocabulary": f"{meta.vocab_size:,} tokens, {meta.tokenizer_kind}",
        "token files": f"{out} ({meta.dtype})",
    }
