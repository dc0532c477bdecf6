"""handgrad tokenize: shows a text coloured by its tokens, with their ids."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from handgrad.cli.arguments import parse
from handgrad.cli.console import make_console, standard_input
from handgrad.cli.main import OK
from handgrad.data import count_unknown
from handgrad.system.arrays import Array
from handgrad.system.encodings import decoded
from handgrad.system.files import read_to_its_end
from handgrad.tokenizers import Tokenizer, load_tokenizer

# Black on light backgrounds is readable on dark terminals and on light ones.
_STYLES = [f"color(16) on color({ground})" for ground in (153, 157, 223, 218, 189)]
_SEEN = {" ": "·", "\n": "↵", "\t": "␉", "\r": "␍"}


@dataclass
class Arguments:
    """Show a text coloured by its tokens, with their ids. Spaces are shown as ·, new lines as ↵."""

    tokenizer: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|tokenizer.json")]
    """A run, a directory of token files, or the file of a tokenizer."""
    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """The text; standard input if it is missing or -."""
    ids: bool = False
    """Print only the ids, with spaces between them."""
    allow_special: bool = False
    """Read special tokens in the text, such as <eos>, as themselves and not as characters."""


@dataclass(frozen=True)
class Cell:
    """A token and its id, as they are printed one under the other."""

    token: str
    number: str
    ends_row: bool

    @property
    def width(self) -> int:
        """In cells of the terminal."""
        return max(cell_len(self.token), len(self.number))


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "tokenize")
    tokenizer = load_tokenizer(arguments.tokenizer)
    text = _standard_input() if arguments.text in (None, "-") else str(arguments.text)
    ids = tokenizer.encode(text, allow_special=arguments.allow_special)
    if arguments.ids:
        print(*ids.tolist())
        return OK
    console = make_console()
    shown = 0
    for row in rows_of((_cell(tokenizer, number) for number in ids.tolist()), console.width):
        _print_row(row, shown, console)
        shown += len(row)
    console.print(_counts(text, ids, tokenizer))
    return OK


def rows_of(cells: Iterable[Cell], width: int) -> Iterator[list[Cell]]:
    """The cells in rows that fit the width, with a space between two cells; a new line also ends a row."""
    row: list[Cell] = []
    used = 0
    for cell in cells:
        if row and (row[-1].ends_row or used + cell.width > width):
            yield row
            row, used = [], 0
        row.append(cell)
        used += cell.width + 1
    if row:
        yield row


def visible(token: str) -> str:
    """A token with signs for spaces, new lines and other characters that print nothing."""
    return "".join(_SEEN.get(c) or (c if c.isprintable() else f"<{ord(c):02X}>") for c in token)


def _cell(tokenizer: Tokenizer, number: int) -> Cell:
    token = tokenizer.token(number)
    return Cell(visible(token), str(number), "\n" in token)


def _print_row(row: list[Cell], first: int, console: Console) -> None:
    """Prints a row of tokens and, under them, their ids; ``first`` counts the tokens before it, for the colours."""
    coloured = console.is_terminal and not console.no_color
    tokens, numbers = Text(), Text(style="dim" if coloured else "")
    for place, cell in enumerate(row):
        between = "" if place == 0 else " " if coloured else "|"
        padded = cell.token + " " * (cell.width - cell_len(cell.token))
        tokens.append(between).append(padded, _STYLES[(first + place) % len(_STYLES)] if coloured else "")
        numbers.append(" " * (place > 0) + cell.number.ljust(cell.width))
    for line in (tokens, numbers):
        if not coloured:
            line.rstrip()
        console.print(line)


def _counts(text: str, ids: Array, tokenizer: Tokenizer) -> str:
    ratio = f", {len(text) / len(ids):.2f} characters per token" if len(ids) else ""
    unknown = count_unknown(tokenizer, ids)
    return f"{len(text):,} characters, {len(ids):,} tokens{ratio}, {unknown:,} unknown"


def _standard_input() -> str:
    return decoded(read_to_its_end(standard_input(), "standard input"), "standard input")
