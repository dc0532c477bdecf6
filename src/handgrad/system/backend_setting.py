"""The choice between ``numpy`` and ``numba``, the compiled kernels; operations and tokenizers read it here."""

import os
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from handgrad.system.errors import InputError

BACKENDS = ("numpy", "numba")
_forced: str | None = None


def use_backend(name: str | None) -> None:
    """Forces ``numpy`` or ``numba`` for the operations and tokenizers of the whole process.

    None leaves the choice to HANDGRAD_BACKEND, which is read again, or else to what is installed.

    Raises InputError for another name, or for numba if it is not installed.
    """
    global _forced
    if name is not None:
        _check_installed(_checked(name, "backend"), "backend")
    _named_in_environment.cache_clear()
    _by_default.cache_clear()
    _forced = name


def forced_backend() -> str | None:
    """The last argument of ``use_backend``. A new process that is given it makes the same choice."""
    return _forced


def chosen_backend() -> str | None:
    """The backend that the user chose, by ``use_backend`` or HANDGRAD_BACKEND; None by default. Imports nothing.

    Raises InputError if HANDGRAD_BACKEND names no backend.
    """
    return _forced or _named_in_environment()


def current_backend() -> str:
    """The backend in use: the forced one, else HANDGRAD_BACKEND, else numba if it is installed, else numpy.

    Raises InputError if HANDGRAD_BACKEND names no backend, or names numba and it is not installed.
    """
    return _forced or _by_default()


@cache
def _by_default() -> str:
    named = _named_in_environment()
    if named is None:
        return "numba" if _has_numba() else "numpy"
    _check_installed(named, "HANDGRAD_BACKEND")
    return named


@cache
def _named_in_environment() -> str | None:
    named = os.environ.get("HANDGRAD_BACKEND")
    return _checked(named, "HANDGRAD_BACKEND") if named else None


def _checked(name: str, what: str) -> str:
    if name not in BACKENDS:
        raise InputError(f"{what} must be {' or '.join(BACKENDS)}, not {name!r}")
    return name


def _check_installed(name: str, what: str) -> None:
    if name == "numba" and not _has_numba():
        raise InputError(f"{what} is numba, but Numba cannot be imported: pip install numba")


@cache
def _has_numba() -> bool:
    """Whether Numba is installed and works. A Numba that does not fit the installed NumPy fails on import."""
    if find_spec("numba") is None:
        return False
    try:
        import_module("handgrad.system.compiling")
    except Exception as error:
        warnings.warn(f"Numba cannot be imported ({error}): handgrad uses NumPy alone, which is slower", stacklevel=2)
        return False
    return True
