"""Commands that we suggest, spelled so that they work in the user's own shell."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(*words: str | Path) -> str:
    """A command line of this program, as the user has to type it: ``.venv/bin/handgrad sample runs/quick-1``."""
    return " ".join((_program(), *(shlex.quote(str(word)) for word in words)))


def _program() -> str:
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("handgrad", "__main__.py"):
        return f"{_spelled(Path(sys.executable))} -m handgrad"
    return _spelled(called) if called.stem == "handgrad" else "handgrad"  # another program may call main()


def _spelled(program: Path) -> str:
    """Its name if the shell finds it under that, otherwise its path, from here if it lies below."""
    found = shutil.which(program.name)
    if found is not None and os.path.abspath(found) == os.path.abspath(program):
        return program.name
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return shlex.quote(str(program))
