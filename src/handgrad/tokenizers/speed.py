"""Which code cuts, counts and merges: the text in Python, or its compiled twin in ``kernels``, with the same ids."""

import os
from functools import cache
from importlib.util import find_spec
from types import ModuleType

from handgrad.errors import InputError

# Loading Numba and machine code takes half a second, compiling on a new machine ten: no longer than Python needs for so
# many characters.
WORTH_LOADING = 8_000_000
_wanted = os.environ.get("HANDGRAD_BACKEND")
_worked_on = 0


def kernels_for(characters: int) -> ModuleType | None:
    """The compiled kernels, once this process has worked on so much text that loading them is worth it.

    None before that, or where Numba is not installed. HANDGRAD_BACKEND=numpy keeps to Python; numba loads them at once.
    """
    global _worked_on
    _worked_on += characters  # of two threads one may be lost: that is no matter
    return _loaded() if _wanted != "numpy" and (_wanted or _worked_on >= WORTH_LOADING) else None


def can_be_compiled() -> bool:
    """Whether large texts are worked on by kernels, which leave Python's lock to other threads."""
    return _wanted != "numpy" and find_spec("numba") is not None


@cache
def _loaded() -> ModuleType | None:
    if _wanted not in (None, "", "numba"):
        raise InputError(f"HANDGRAD_BACKEND must be numpy or numba, not {_wanted!r}")
    try:
        from handgrad.tokenizers import kernels
    except ImportError:
        return None
    return kernels
