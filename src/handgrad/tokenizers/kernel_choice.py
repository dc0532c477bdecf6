"""Which code cuts, counts and merges: the text in Python, or its compiled twin in ``kernels``, with the same ids."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType

from handgrad.system.backend_setting import chosen_backend

# Loading Numba and machine code takes half a second, compiling on a new machine ten: no longer than Python needs for so
# many characters.
WORTH_LOADING = 8_000_000
_worked_on = 0


def kernels_for(characters: int) -> ModuleType | None:
    """The compiled kernels, once this process has worked on so much text that loading them is worth it.

    None before that, or if Numba is not installed. If somebody chose a backend, by ``use_backend`` or
    HANDGRAD_BACKEND, numba loads them at once and numpy keeps to Python.

    Raises InputError for a HANDGRAD_BACKEND that is no backend.
    """
    global _worked_on
    _worked_on += characters  # of two threads one may be lost: that is no matter
    chosen = chosen_backend()
    if chosen == "numpy" or (chosen is None and _worked_on < WORTH_LOADING):
        return None
    return _loaded()


def can_be_compiled() -> bool:
    """Whether large texts are worked on by kernels, which leave Python's lock to other threads."""
    return chosen_backend() != "numpy" and find_spec("numba") is not None


@cache
def _loaded() -> ModuleType | None:
    try:
        from handgrad.tokenizers import kernels
    except ImportError:
        return None
    return kernels
