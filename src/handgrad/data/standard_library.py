"""A text that every Python brings along: the short functions of its standard library."""

import ast
import hashlib
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages"}  # tests, and what is no part of Python
_LEFT_OUT |= {"encodings", "pydoc_data", "html"}  # tables
_LEFT_OUT |= {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"}  # not in every Python
_MOST_LINES = 24
_WIDEST_LINE = 88


def short_functions() -> list[str]:
    """The source of each documented function of the standard library that fits on half a screen, without indentation.

    The list has no function twice. Its order depends on the functions alone: it is the order of their hashes, so that
    neighbours have nothing to do with each other. It is empty if this Python comes without its source.
    """
    found: set[str] = set()
    library = Path(sysconfig.get_path("stdlib"))
    for path in library.rglob("*.py"):
        if not _LEFT_OUT.intersection(path.relative_to(library).parts):
            found.update(_functions_of(path))
    return sorted(found, key=lambda source: hashlib.sha256(source.encode()).digest())


def _functions_of(path: Path) -> Iterator[str]:
    try:
        source = path.read_text("utf-8")
        module = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return  # a template, a file in another encoding, or one that nobody may read
    lines = source.split("\n")
    for node in _functions(module):
        first = min(part.lineno for part in (node, *node.decorator_list))
        block = lines[first - 1 : node.end_lineno]
        text = textwrap.dedent("\n".join(line.rstrip() for line in block).expandtabs(8)) + "\n"
        if len(block) > _MOST_LINES or not text.isascii() or any(len(line) > _WIDEST_LINE for line in block):
            continue
        if not text[0].isspace():  # as it is if a string inside reaches further to the left
            yield text


def _functions(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions and methods with a docstring, except those inside another function, which would stand twice."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            yield node
