"""Flags from dataclasses, with tyro; what is wrong with them in one sentence."""

import contextlib
import difflib
import io
import re
from dataclasses import fields
from typing import Any, TypeVar

import tyro

from handgrad.errors import InputError

T = TypeVar("T")


def parse(kind: type[T], argv: list[str], command: str, default: T | None = None) -> T:
    """The arguments of a command as a dataclass. Raises InputError for what cannot be; ``--help`` prints and exits."""
    arguments, unknown = parse_known(kind, argv, command, default)
    if unknown:
        raise InputError(f"{command}: {_unknown(unknown[0], argv, kind)}")
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
    """The message from the box that tyro draws, without what follows its first rule."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ").strip() for line in text.splitlines() if line.startswith("│")]
    message = []
    for line in lines:
        if set(line) == {"─"}:
            break
        message.append(line)
    return " ".join(message).rstrip(".") + "; --help tells the flags" if message else text.strip()


def _unknown(word: str, argv: list[str], kind: type[Any]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; --help tells the flags"
    flag = word.split("=")[0]
    near = difflib.get_close_matches(flag, sorted(_flags(kind)), n=1)
    return f"unknown flag {flag}" + (f"; did you mean {near[0]}?" if near else "; --help tells the flags")


def _flags(kind: Any) -> set[str]:
    flags: set[str] = set()
    for field in fields(kind):
        if hasattr(field.type, "__dataclass_fields__"):
            flags |= _flags(field.type)
        else:
            flags.add("--" + field.name.replace("_", "-"))
    return flags
