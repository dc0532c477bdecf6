"""Reads flags into dataclasses, with tyro, and says in one sentence what is wrong with them."""

import contextlib
import io
import re
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import tyro

from handgrad.cli.console import make_console
from handgrad.cli.help import Help, arguments_of, print_help
from handgrad.cli.main import modules_of_commands
from handgrad.cli.suggestions import advice_on_flag
from handgrad.system.errors import InputError

T = TypeVar("T")
_HELP = ("-h", "--help")

# tyro's messages, and plainer ones.
_PLAINER = (
    (r"^Missing from handgrad \w+: (\S+)( [A-Z]+\b)? .*", r"\1\2 is missing"),
    (r"^Error parsing (\S+): .*?invalid literal for int\(\) with base 10: ('.*?').*", r"\1 must be an integer, not \2"),
    (r"^Error parsing (\S+): .*?could not convert string to float: ('.*?').*", r"\1 must be a number, not \2"),
    (r"^Error parsing (\S+): no type matching \{None\}\|FLOAT .* from \['(.*)'\]", r"\1 must be a number, not '\2'"),
    (r"^Error parsing (\S+): no type matching \{None\}\|INT .* from \['(.*)'\]", r"\1 must be an integer, not '\2'"),
    (r"^invalid choice ('.*') for argument '(\S+)'\. Expected one of \((.*)\)", r"\2 must be one of \3, not \1"),
    (r"^Missing value for argument '(\S+)'.*", r"\1 needs a value"),
)


def parse(kind: type[T], argv: list[str], command: str, default: T | None = None, extra: Help | None = None) -> T:
    """The arguments of a command as a dataclass; ``default`` holds other defaults than its own.

    ``--help`` prints the help, to which ``extra`` adds, and exits. Raises InputError for an unknown flag and for a
    value that does not fit.
    """
    if wants_help(argv):
        print_help(make_console(), command, kind, default, extra or Help())
        raise SystemExit(0)
    _refuse_unknown_flags(kind, argv, command)
    arguments, unknown = parse_known(kind, argv, command, default)
    if unknown:
        raise InputError(f"{command}: {_unexpected(unknown[0], kind, command)}")
    return arguments


def parse_known(kind: type[T], argv: list[str], command: str, default: T | None = None) -> tuple[T, list[str]]:
    """The arguments that the dataclass defines, and the words that are left over."""
    printed = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(printed):
            words = [word for word in argv if word not in _HELP]
            return tyro.cli(kind, args=words, prog=f"handgrad {command}", return_unknown_args=True, **options)
    except SystemExit:
        raise InputError(f"{command}: {_sentence(printed.getvalue())}; see handgrad {command} --help") from None


def given_fields(argv: list[str]) -> set[str]:
    """The names of the fields whose flags were typed."""
    flags = {word.split("=")[0] for word in argv if word.startswith("--")}
    names = {flag.removeprefix("--").replace("-", "_") for flag in flags}
    return names | {name.removeprefix("no_") for name in names}


def wants_help(argv: list[str]) -> bool:
    """Whether the help is asked for."""
    return any(word in _HELP for word in argv)


def _sentence(box: str) -> str:
    """The message in the box that tyro draws: its title, then sections between rules, of which the first counts.

    tyro draws the box with lines if the terminal can show them. If not, the title is a section of its own and rules are
    dashes.
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
    return sentence


def _refuse_unknown_flags(kind: Any, argv: list[str], command: str) -> None:
    """tyro would take the value of an unknown flag for an argument of its own, so this runs first."""
    known = {"--", *_flags(kind)}
    for word in argv:
        typed = word.split("=")[0]
        if word.startswith("--") and typed.replace("_", "-") not in known:
            raise InputError(f"{command}: unknown flag {typed}; {_advice(typed, kind, command)}")


def _unexpected(word: str, kind: Any, command: str) -> str:
    if re.match("-[a-z]", word):
        return f"unknown flag {word}; {_advice(word, kind, command)}"
    advice = f"see handgrad {command} --help"
    if "--text" in _flags(kind) and Path(word).exists():
        advice = f"did you mean --text {word}?"
    return f"unexpected argument {word!r}; {advice}"


def _advice(typed: str, kind: Any, command: str) -> str:
    modules = {other: module for other, module in modules_of_commands().items() if other != command}
    elsewhere = {other: _flags(import_module(module).Arguments) for other, module in modules.items()}
    return advice_on_flag(typed, command, _flags(kind), elsewhere)


def _flags(kind: Any) -> set[str]:
    return {flag for one in arguments_of(kind) for flag in one.flags}
