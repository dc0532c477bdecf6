"""Flags from dataclasses, with tyro; what is wrong with them in one sentence."""

import contextlib
import difflib
import io
import re
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_type_hints

import tyro

from handgrad.system.errors import InputError

T = TypeVar("T")

# What tyro says, and the same as one would say it.
_PLAINER = (
    (r"^Missing from handgrad \w+: (\S+)( [A-Z]+\b)? .*", r"\1\2 is missing"),
    (r"^Error parsing (\S+): .*?invalid literal for int\(\) with base 10: ('.*?').*", r"\1 must be an integer, not \2"),
    (r"^Error parsing (\S+): .*?could not convert string to float: ('.*?').*", r"\1 must be a number, not \2"),
    (r"^invalid choice ('.*') for argument '(\S+)'\. Expected one of \((.*)\)", r"\2 must be one of \3, not \1"),
    (r"^Missing value for argument '(\S+)'.*", r"\1 needs a value"),
)


def parse(kind: type[T], argv: list[str], command: str, default: T | None = None) -> T:
    """The arguments of a command as a dataclass. Raises InputError for what cannot be; ``--help`` prints and exits."""
    _refuse_unknown_flags(kind, argv, command)
    arguments, unknown = parse_known(kind, argv, command, default)
    if unknown:
        raise InputError(f"{command}: unexpected argument {unknown[0]!r}; --help tells the flags")
    return arguments


def parse_known(kind: type[T], argv: list[str], command: str, default: T | None = None) -> tuple[T, list[str]]:
    """The arguments that the dataclass knows, and the others."""
    printed = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(kind, args=argv, prog=f"handgrad {command}", return_unknown_args=True, **options)
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise InputError(f"{command}: {_sentence(printed.getvalue())}") from None


def _sentence(box: str) -> str:
    """The message in the box that tyro draws: its title, then sections between rules, of which the first counts.

    The box is of lines where the terminal can show them; else the title is a section of its own and rules are dashes.
    """
    lines = [line.strip("│ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    sections: list[list[str]] = [[]]
    for line in lines:
        if set(line) <= {"─", "-"}:
            sections.append([])
        elif line[0] not in "╭╰":
            sections[-1].append(line)
    sentence = " ".join(sections[0 if box.startswith("╭") else 1]).rstrip(".")
    for pattern, plain in _PLAINER:
        sentence = re.sub(pattern, plain, sentence)
    return f"{sentence}; --help tells the flags"


def _refuse_unknown_flags(kind: Any, argv: list[str], command: str) -> None:
    """Before tyro reads them: it would take the value of an unknown flag for an argument of its own."""
    known = _flags(kind) | {"--help"}
    for word in argv:
        flag = word.split("=")[0].replace("_", "-")
        if word.startswith("--") and flag.replace("--no-", "--", 1) not in known | {"--"}:
            near = difflib.get_close_matches(flag, sorted(known), n=1)
            advice = f"did you mean {near[0]}?" if near else "--help tells the flags"
            raise InputError(f"{command}: unknown flag {flag}; {advice}")


def _flags(kind: Any) -> set[str]:
    flags: set[str] = set()
    for name, hint in get_type_hints(kind).items():
        flags |= _flags(hint) if is_dataclass(hint) else {"--" + name.replace("_", "-")}
    return flags
