"""Lessons: Markdown whose code is taken from the source, and whose examples are run in place.

Of the fenced blocks of a page

- one after ``<!-- source: MODULE: NAME ... -->`` becomes the source of these functions, classes or methods;
- ``python`` is run; all blocks of a page run one after another in one namespace;
- ``sh`` is run if each line is a ``handgrad`` command; all run in one new directory;
- ``text`` right after a block that is run becomes what was printed;
- one after ``<!-- not run: WHY -->`` stays as it is.

A table after ``<!-- table: NAME -->`` is made from what was measured.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = (
    *("backprop", "modern", "by-hand-and-tape", "tokenizers", "optimizers", "attention", "generation", "bfloat16"),
    *("experiments/tokenizers", "experiments/recipes", "experiments/speedrun"),
)

_BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>source|not run): (?P<said>[^\n]*) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<content>.*?)^```\n"
    r"(?:\n```text\n(?P<printed>.*?)^```\n)?",
    flags=re.DOTALL | re.MULTILINE,
)
_TABLE = re.compile(r"^<!-- table: (?P<said>\S+) -->\n(?:[|<][^\n]*\n)*", flags=re.MULTILINE)


class PageError(Exception):
    """A block of a page cannot be filled; the message says which and why."""


def page_path(name: str) -> Path:
    return DOCS / f"{name}.md"


def filled(page: str, name: str, tables: Mapping[str, str] | None = None) -> str:
    """The page with the current code of the source, the current output of its examples, and its tables."""

    def fill_table(place: re.Match[str]) -> str:
        if place["said"] not in (tables or {}):
            raise PageError(f"{where_of(place)}: there is no table {place['said']}")
        return f"<!-- table: {place['said']} -->\n{(tables or {})[place['said']]}"

    def where_of(place: re.Match[str]) -> str:
        return f"{name}.md, line {place.string.count(chr(10), 0, place.start()) + 1}"

    page = _TABLE.sub(fill_table, page)
    names: dict[str, Any] = {"__name__": name}
    with tempfile.TemporaryDirectory() as directory:

        def fill(block: re.Match[str]) -> str:
            kind, said, language, content = block.group("kind", "said", "language", "content")
            where = where_of(block)
            if kind == "not run":
                return block[0]
            if kind == "source":
                if block["printed"] is not None:
                    raise PageError(f"{where}: source prints nothing, but text is below it")
                return f"<!-- source: {said} -->\n```{language}\n{source_of(said, where)}```\n"
            if language == "python":
                printed = _run(content, names, where, Path(directory))
            elif language == "sh":
                printed = _run_commands(content, where, Path(directory))
            else:
                raise PageError(f"{where}: a block of {language or 'nothing'} is neither run nor marked as not run")
            return f"```{language}\n{content}```\n" + (f"\n```text\n{printed}```\n" if printed else "")

        return _BLOCK.sub(fill, page)


def source_of(said: str, where: str = "") -> str:
    """The source of what ``MODULE: NAME ...`` names; blank lines separate functions, as in a file."""
    module_name, _, names = said.partition(": ")
    module = importlib.import_module(module_name)
    parts = []
    for name in names.split():
        found: Any = module
        for attribute in name.split("."):
            found = getattr(found, attribute, None)
        if found is None:
            raise PageError(f"{where}: {module_name} has no {name}")
        parts.append(textwrap.dedent(inspect.getsource(found)))
    return ("\n" if "." in names else "\n\n").join(parts)


def _run(code: str, names: dict[str, Any], where: str, directory: Path) -> str:
    printed, before = io.StringIO(), Path.cwd()
    os.chdir(directory)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, where, "exec"), names)
    except Exception as error:
        raise PageError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        os.chdir(before)
    return printed.getvalue()


def _run_commands(lines: str, where: str, directory: Path) -> str:
    printed = ""
    for line in lines.splitlines():
        program, *arguments = shlex.split(line)
        if program != "handgrad":
            raise PageError(f"{where}: {program} is not run here; write <!-- not run: why --> before it")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            [sys.executable, "-m", "handgrad", *arguments],
            cwd=directory,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            check=False,
        )
        printed += done.stdout + done.stderr
    return printed
