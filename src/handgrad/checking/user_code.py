"""Runs a user's file or module, and says in one sentence what it raised and on which line."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from handgrad.ops.contract import name_of
from handgrad.system.errors import InputError
from handgrad.system.files import read_file


def execute(path: Path) -> ModuleType:
    """A user's file as a module. No bytecode is cached, because the file may change twice within a second.

    Raises InputError if the file is missing, is not Python, or raises.
    """
    content = read_file(path)
    # Dataclasses look for their module; the colon keeps the name apart from those that can be imported.
    module = sys.modules[f"file:{path}"] = ModuleType(f"file:{path}")
    module.__file__ = str(path)
    try:
        code = compile(content, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"{path}, line {error.lineno}" if error.lineno else str(path)
        raise InputError(f"{where}, is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, brackets without end
        raise InputError(f"{path} is not Python: {error}") from None
    try:
        exec(code, vars(module))
    except (Exception, SystemExit) as error:
        raise InputError(raised(error, {str(path)}, str(path))) from None
    return module


def imported(name: str) -> ModuleType:
    """The module of a dotted name. Raises InputError if no module has this name, or if importing it fails."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"there is no module {name}; name a file, as in path/to/{name.rpartition('.')[2]}.py, or a module that "
                "can be imported from this directory"
            ) from None
        raise InputError(f"{name}: {type(error).__name__}: {error}") from None
    except (Exception, SystemExit) as error:
        own = [
            frame.filename for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename
        ]
        raise InputError(raised(error, own[-1:], name)) from None


def raised(error: BaseException, files: Iterable[str], otherwise: str) -> str:
    """Where in these files it was raised, its kind and its message; ``otherwise`` stands for an unknown place."""
    message = " ".join(str(error).split())
    return f"{place(error, files, otherwise)}: {type(error).__name__}" + (f": {message}" if message else "")


def place(error: BaseException, files: Iterable[str], otherwise: str) -> str:
    """The last line of one of the files in the traceback."""
    known = set(files)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in known]
    return f"{_shown(frames[-1].filename, frames[-1].name)}, line {frames[-1].lineno}" if frames else otherwise


def place_of(function: Callable[..., Any]) -> str:
    """The line where a function begins."""
    code = getattr(function, "__code__", None)
    return (
        name_of(function)
        if code is None
        else f"{_shown(code.co_filename, name_of(function))}, line {code.co_firstlineno}"
    )


def file_of(function: Callable[..., Any]) -> str:
    """The file that defines a function, as tracebacks name it; empty for one that is not written in Python."""
    return str(getattr(getattr(function, "__code__", None), "co_filename", ""))


def _shown(file: str, function: str) -> str:
    """A file as seen from this directory; the function's name if there is no such file, as in a notebook."""
    if not os.path.isfile(file):
        return function
    here = os.path.relpath(file) if os.path.isabs(file) else file
    return file if here.startswith("..") else here
