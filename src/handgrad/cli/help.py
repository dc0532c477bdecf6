"""What ``--help`` prints: how a command is called, examples, and its arguments in groups."""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from rich.console import Console
from rich.text import Text

ARGUMENTS, OPTIONS = "arguments", "options"
_VALUES = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
_COLUMN = 26
"""Where the second column begins; a flag that is longer has a line to itself."""
_NARROWEST = 40
_UNBROKEN = "\0"
"""Stands for a space at which no line ends."""


@dataclass(frozen=True)
class Help:
    """What the help of a command shows besides its arguments."""

    examples: Sequence[tuple[str, str]] = ()
    """A command line, and what it does."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=lambda: {OPTIONS: ()})
    """The headings, and the fields whose flags each lists; the last heading also lists those that none names."""


@dataclass(frozen=True)
class Argument:
    """A positional argument or a flag."""

    name: str
    """Of its field."""
    flags: tuple[str, ...]
    """Empty for a positional argument."""
    value: str
    """What stands for its value; empty for a flag without one."""
    does: str
    default: Any
    required: bool

    @property
    def shown(self) -> str:
        """As the user types it."""
        return " ".join(filter(None, (", ".join(self.flags), self.value)))

    @property
    def usage(self) -> str:
        """As the line ``usage`` shows it."""
        typed = " ".join(filter(None, (*self.flags[-1:], self.value)))
        return typed if self.required else f"[{typed}]"


def print_help(console: Console, command: str, kind: type, default: Any, extra: Help) -> None:
    """Prints the help of a command whose arguments are the dataclass ``kind``, wrapped to the console's width."""
    width = max(console.width, _NARROWEST)
    arguments = list(arguments_of(kind, default))
    positional = [one for one in arguments if not one.flags]
    flags = [one for one in arguments if one.flags]
    usage = [one.usage for one in flags if one.required] + ["[OPTIONS]"] + [one.usage for one in positional]
    _print(console, f"usage: handgrad {command} {' '.join(usage)}", width, indent=2)
    for paragraph in inspect.getdoc(kind).split("\n\n"):  # type: ignore[union-attr]  # every command has one
        console.print()
        _print(console, paragraph, width)
    if extra.examples:
        console.print("\nexamples:", style="bold")
        for line, purpose in extra.examples:
            console.print(f"  {line}", style="cyan")
            _print(console, purpose, width, first=4, indent=4)
    _print_group(console, ARGUMENTS, positional, width)
    for group, members in _grouped(flags, extra.groups).items():
        _print_group(console, group, members, width)


def arguments_of(kind: type, default: Any = None) -> Iterator[Argument]:
    """The arguments of a dataclass, those of dataclasses in it included; ``default`` holds other defaults."""
    hints, texts = get_type_hints(kind, include_extras=True), docstrings_of(kind)
    for one in fields(kind):
        hint, extras = _unwrapped(hints[one.name])
        value = _default_of(one) if default is None else getattr(default, one.name)
        if is_dataclass(hint):
            assert isinstance(hint, type)
            yield from arguments_of(hint, None if value is MISSING else value)
            continue
        settings = [extra for extra in extras if hasattr(extra, "metavar")]
        named = next((extra.metavar for extra in settings if extra.metavar), None)
        flag = "--" + one.name.replace("_", "-")
        aliases = [alias for extra in settings for alias in extra.aliases or ()]
        is_switch = hint is bool
        negative = [f"--no-{flag[2:]}"] if is_switch and not aliases else []
        yield Argument(
            name=one.name,
            flags=() if tyro.conf.Positional in extras else (*aliases, flag, *negative),
            value="" if is_switch else named or _value_of(hint),
            does=texts.get(one.name, ""),
            default=None if value is MISSING else value,
            required=value is MISSING,
        )


def docstrings_of(kind: type) -> dict[str, str]:
    """The strings under the fields of a dataclass and of those that it extends, each on one line."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not is_dataclass(each):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for one, text in pairwise(definition.body):
            if (
                isinstance(one, ast.AnnAssign)
                and isinstance(one.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[one.target.id] = " ".join(text.value.value.split())
    return found


def _grouped(flags: Sequence[Argument], groups: Mapping[str, Sequence[str]]) -> dict[str, list[Argument]]:
    left = {one.name: one for one in flags}
    found = {group: [left.pop(name) for name in names if name in left] for group, names in groups.items()}
    found[list(groups)[-1]] += left.values()
    return found


def _default_of(one: "Field[Any]") -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _unwrapped(hint: Any) -> tuple[Any, list[Any]]:
    """The type without ``Annotated`` and ``| None``, and what is annotated."""
    extras: list[Any] = []
    while True:
        if get_origin(hint) is Annotated:
            extras += hint.__metadata__
            hint = hint.__origin__
        elif get_origin(hint) in (Union, types.UnionType):
            (hint,) = (each for each in get_args(hint) if each is not type(None))
        else:
            return hint, extras


def _value_of(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"{_value_of(get_args(hint)[0])} ..."
    return _VALUES[hint]


def _print_group(console: Console, group: str, arguments: Sequence[Argument], width: int) -> None:
    if not arguments:
        return
    console.print(f"\n{group}:", style="bold")
    for one in arguments:
        default = f"(default: {_shown(one.default)})" if _is_worth_showing(one) else ""
        does = f"{one.does} {default if len(default) > _COLUMN else default.replace(' ', _UNBROKEN)}"
        lines = _wrapped(does, width - _COLUMN)
        beside = len(one.shown) + 4 <= _COLUMN
        first = f"  {one.shown:{_COLUMN - 2}}" if beside else f"  {one.shown}"
        text = Text(first, style="cyan")
        text.append(lines.pop(0) if beside and lines else "", style="default")
        text.rstrip()
        console.print(text)
        for line in lines:
            console.print(" " * _COLUMN + line)


def _is_worth_showing(argument: Argument) -> bool:
    if isinstance(argument.default, bool):
        return any(flag.startswith("--no-") for flag in argument.flags)
    return argument.default not in (None, (), "")


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _print(console: Console, text: str, width: int, first: int = 0, indent: int = 0) -> None:
    for number, line in enumerate(_wrapped(" ".join(text.split()), width - max(first, indent))):
        console.print(" " * (indent if number else first) + line)


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(width, 12), break_long_words=False, break_on_hyphens=False)
    return [line.replace(_UNBROKEN, " ") for line in lines]
