"""The page of the command line, made from the ``--help`` of each command."""

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

`--help` prints the same for each command. Exit codes: 0 success, 1 failure, 2 bad input, named in one sentence,
130 interrupted.

"""


def on_files(files: Any, config: Any) -> None:
    sections = "\n\n".join(_section(command) for command in COMMANDS)
    files.append(File.generated(config, "commands.md", content=INTRODUCTION + sections))


def _section(command: str) -> str:
    prose, _, boxes = _help_of(command).partition("\n\n╭")
    usage, _, purpose = prose.partition("\n\n")
    return f"## {command}\n\n{purpose}\n\n```text\n{usage.removeprefix('usage: ')}\n```\n\n{_table(boxes, command)}"


def _help_of(command: str) -> str:
    """As in a terminal so wide that no line is broken."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with mock.patch.dict(os.environ, COLUMNS="1000"), contextlib.redirect_stdout(printed):
        with contextlib.suppress(SystemExit):
            main([command, "--help"])
        printed.seek(0)
        return printed.read()


def _table(boxes: str, command: str) -> str:
    """The table of flags. Help is beside the flag or, if the flag is long, indented below it."""
    rows: list[list[str]] = []
    for line in re.findall(r"^│ (.*?) *│$", boxes, flags=re.MULTILINE):
        flag, _, does = re.sub(" {2,}", "  ", line).partition("  ")
        if flag:
            rows.append([flag.replace("{None}|", ""), does])
        elif rows:
            rows[-1][1] = f"{rows[-1][1]} {does}".strip()
        else:
            raise PluginError(f"handgrad {command} --help has a line that this page cannot show: {line}")
    rows = [row for row in rows if row[0] != "-h, --help"]
    lines = (f"| `{flag}` | {re.sub(r' [(]default: (None)?[)]$', '', does)} |" for flag, does in rows)
    return "\n".join(("| argument | what it does |\n|---|---|", *lines)) if rows else ""
