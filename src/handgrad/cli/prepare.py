"""handgrad prepare: turns texts, which may be larger than memory, into token files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

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
from handgrad.cli.console import make_console, warn
from handgrad.cli.help import Help
from handgrad.cli.interrupts import sigterm_raises
from handgrad.cli.main import OK
from handgrad.cli.terminal import show, shown_as_text
from handgrad.cli.texts import STANDARD_INPUT, TextFlags, named_tokenizer, skipped_files, texts_of
from handgrad.data import Prepared, Stream, check_is_empty, prepare_token_files
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer, make_tokenizer


@dataclass(kw_only=True)
class Arguments(TextFlags):
    """Turn texts into token files for `handgrad train --data DIR`. Texts may be larger than memory."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The directory to write, which must be new or empty."""
    standard_input: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="-")] = None
    """Read the text from standard input."""
    text: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...")] = ()
    """Files, and directories of files, which may be compressed with gzip. - is standard input."""
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A text by name: functions, pydoc or shakespeare."""
    tokenizer: Annotated[str, tyro.conf.arg(metavar="char|word|bpe|FILE")] = "char"
    """A kind of tokenizer, which learns its vocabulary from the text; or the file of one, which is used as it is."""
    vocab_size: int | None = None
    """The largest vocabulary that the tokenizer may learn, special tokens included."""
    byte_fallback: bool = False
    """Encode unknown characters as their bytes, so that none are lost. The tokenizers word and bpe always do."""
    seed: int = 0
    """Seed of --shuffle-documents."""


_HELP = Help(
    examples=(
        (
            "handgrad prepare --text books/ --tokenizer bpe --vocab-size 5000 --out tokens",
            "Encode a directory of texts with a new byte-pair vocabulary.",
        ),
        ("handgrad train --data tokens", "Train on the token files."),
        ("handgrad prepare --text chat.jsonl --documents jsonl:text --out tokens", "Make a document of each line."),
    )
)


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "prepare", extra=_HELP)
    if arguments.standard_input not in (None, str(STANDARD_INPUT)):
        raise InputError(f"give a text with --text {arguments.standard_input}; only - stands alone, for standard input")
    check_is_empty(arguments.out)
    choices = arguments.choices(arguments.seed)
    tokenizer, learn = _tokenizer(arguments)
    texts = _texts(arguments)
    with sigterm_raises(), PreparingDisplay(make_console()) as display:
        prepared = prepare_token_files(
            texts, arguments.out, tokenizer, choices=choices, learn=learn, report=display.report
        )
    for name, value in _summary(prepared, arguments.out).items():
        show(f"{name:22}{value}")
    for note in prepared.notes:
        warn(note)
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
    paths = [*arguments.text, *([STANDARD_INPUT] if arguments.standard_input else [])]
    if bool(paths) == (arguments.dataset is not None):
        raise InputError("prepare: give either --text PATH ..., - for standard input, or --dataset NAME")
    return texts_of(paths, arguments.dataset)


def _tokenizer(arguments: Arguments) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether it must still learn its vocabulary."""
    given = {"--vocab-size": arguments.vocab_size is not None, "--byte-fallback": arguments.byte_fallback}
    found = named_tokenizer(arguments.tokenizer, [flag for flag, is_given in given.items() if is_given])
    if found is not None:
        return found, False
    return make_tokenizer(arguments.tokenizer, arguments.vocab_size, arguments.byte_fallback), True


def _summary(prepared: Prepared, out: Path) -> dict[str, str]:
    meta = prepared.meta
    characters = meta.train_characters + meta.validation_characters
    tokens = meta.train_tokens + meta.validation_tokens
    skipped = skipped_files(prepared)
    return {
        "documents": f"{prepared.documents:,}",
        **({"skipped files": skipped} if skipped else {}),
        "characters": f"{characters:,}",
        "training tokens": f"{meta.train_tokens:,}",
        "validation tokens": f"{meta.validation_tokens:,}",
        "characters per token": f"{characters / max(tokens, 1):.2f}",
        "unknown tokens": f"{prepared.unknown:,} ({prepared.unknown / max(tokens, 1):.2%})",
        "vocabulary": f"{meta.vocab_size:,} tokens, {meta.tokenizer_kind}",
        "token files": f"{out} ({meta.dtype})",
    }
