"""The page of the command line, made from what each command prints for ``--help``."""

import contextlib
import io
import os
import re
from typing import Any
from unittest import mock

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from handgrad.cli.main import COMMANDS, main

INTRODUCTION = """# The command line

Each command prints the same with `--help`. Exit codes: 0 fine, 1 failed, 2 bad input, explained in one sentence,
130 interrupted.

"""


def on_files(files: Any, config: Any) -> None:
    sections = "\n\n".join(_section(command) for command in COMMANDS)
    files.append(File.generated(config, "commands.md", content=INTRODUCTION + sections))


def _section(command: str) -> str:
    usage, purpose, *parts = _help_of(command).strip().split("\n\n")
    prose = [purpose]
    while parts and not parts[0].splitlines()[0].endswith(":"):
        prose.append(parts.pop(0))
    blocks = [_examples(part) if part.startswith("examples:\n") else _table(part, command) for part in parts]
    code = f"```text\n{usage.removeprefix('usage: ')}\n```"
    return "\n\n".join((f"## {command}", *prose, code, *blocks))


def _help_of(command: str) -> str:
    """As in a terminal so wide that no line is broken."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with mock.patch.dict(os.environ, COLUMNS="1000"), contextlib.redirect_stdout(printed):
        with contextlib.suppress(SystemExit):
            main([command, "--help"])
        printed.seek(0)
        return printed.read()


def _examples(part: str) -> str:
    """The command lines, each below a comment that says what it does."""
    _, *lines = (line.strip() for line in part.splitlines())
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return "```sh\n" + "\n".join(f"# {purpose}\n{line}" for line, purpose in pairs) + "\n```"


def _table(part: str, command: str) -> str:
    """The arguments under one heading. What an argument does is beside it or, if the argument is long, below it."""
    heading, *lines = part.splitlines()
    rows: list[list[str]] = []
    for line in lines:
        if re.match("  [^ ]", line):
            flag, _, does = line.strip().partition("  ")
            rows.append([flag, does.strip()])
        elif rows:
            rows[-1][1] = f"{rows[-1][1]} {line.strip()}".strip()
        else:
            raise PluginError(f"handgrad {command} --help says what this page cannot show: {line}")
    head = f"| {heading.rstrip(':')} | what it does |\n|---|---|"
    return "\n".join((head, *(f"| `{flag}` | {_escaped(does)} |" for flag, does in rows)))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
