"""Chooses the code that cuts, counts and merges: Python, or its compiled twin in ``kernels``, with the same ids."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType

from handgrad.system.backend_setting import chosen_backend

# Loading Numba and the machine code takes half a second, and compiling on a new machine ten seconds. Python takes at
# least as long for this many characters.
WORTH_LOADING = 8_000_000
_worked_on = 0


def kernels_for(characters: int) -> ModuleType | None:
    """The compiled kernels, once this process has processed enough text to make loading them worthwhile.

    None before that, or if Numba is not installed. If the user chose a backend, by ``use_backend`` or
    HANDGRAD_BACKEND, numba loads the kernels at once and numpy always uses Python.

    Raises InputError if HANDGRAD_BACKEND names no backend.
    """
    global _worked_on
    _worked_on += characters  # two threads may lose an addition, which does no harm
    chosen = chosen_backend()
    if chosen == "numpy" or (chosen is None and _worked_on < WORTH_LOADING):
        return None
    return _loaded()


def can_be_compiled() -> bool:
    """Whether kernels process large texts; these release Python's lock."""
    return chosen_backend() != "numpy" and find_spec("numba") is not None


@cache
def _loaded() -> ModuleType | None:
    try:
        from handgrad.tokenizers import kernels
    except ImportError:
        return None
    return kernels
