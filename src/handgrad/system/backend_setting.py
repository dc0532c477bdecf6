"""The choice between ``numpy``, the text, and ``numba``, compiled kernels; operations and tokenizers read it here."""

import os
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from handgrad.system.errors import InputError

BACKENDS = ("numpy", "numba")
_forced: str | None = None


def use_backend(name: str | None) -> None:
    """Forces ``numpy`` or ``numba`` for operations and tokenizers of the whole process.

    None leaves the choice to HANDGRAD_BACKEND, which is read again, and to what is installed.

    Raises InputError for another name, or for numba if it is not installed.
    """
    global _forced
    if name is not None:
        _check_installed(_checked(name, "backend"), "backend")
    _named_in_environment.cache_clear()
    _by_default.cache_clear()
    _forced = name


def forced_backend() -> str | None:
    """What ``use_backend`` was last given: with it a new process makes the same choice, as it has the environment."""
    return _forced


def chosen_backend() -> str | None:
    """The backend that somebody chose, by ``use_backend`` or HANDGRAD_BACKEND; None if nobody did. Loads nothing.

    Raises InputError for a HANDGRAD_BACKEND that is no backend.
    """
    return _forced or _named_in_environment()


def current_backend() -> str:
    """The backend in force: the one forced, else HANDGRAD_BACKEND, else numba if it is installed, else numpy.

    Raises InputError for a HANDGRAD_BACKEND that is no backend, or that is numba if it is not installed.
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
    """Whether Numba is installed and works: one that does not fit the NumPy beside it fails when it is imported."""
    if find_spec("numba") is None:
        return False
    try:
        import_module("handgrad.system.compiling")
    except Exception as error:
        warnings.warn(f"Numba cannot be imported ({error}): handgrad goes on with NumPy alone, slower", stacklevel=2)
        return False
    return True
