"""How kernels are compiled. Importing this module needs Numba.

Numba caches a kernel's machine code until the kernel's own file changes. It does not look at the other files that the
kernel calls into. So each kernel carries a fingerprint of all files in its folder and below, which becomes part of
Numba's cache key.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, cast

import numba
from numba.core import config, event

from handgrad.system.locks import waiting_for

# Numba may regroup sums and fuse products, but must respect NaN and infinity.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
_SHARED_FOLDERS = ("/var/tmp", "/tmp", "/dev/shm")


# As far as an order of sums may matter: a product and the addition of it may still be one instruction.
_IN_ORDER = _FAST - {"reassoc"}


def compiled_in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``compiled``, for a function whose sums are taken in the order that its text says."""
    return compiled(function, _IN_ORDER)


def compiled(function: Callable[..., Any], fastmath: set[str] = _FAST) -> Callable[..., Any]:
    """Compiles at the first call and caches the machine code for later runs.

    Numba caches it beside the source or in the home; if neither can be written, it goes to a folder of this user among
    the temporary ones.

    ``nogil`` lets replicas run in parallel. Without ``error_model="numpy"`` Numba does not vectorise loops that divide.
    """
    function = _with_fingerprint(function)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        machine_code = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written
        place = folder_of_last_resort()
        if place is None:
            return cast("Callable[..., Any]", numba.njit(**options)(function))
        before, config.CACHE_DIR = config.CACHE_DIR, str(place)
        try:
            machine_code = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # it has become full, or is gone
            return cast("Callable[..., Any]", numba.njit(**options)(function))
        finally:
            config.CACHE_DIR = before
    _keep_one_at_a_time(machine_code)
    return cast("Callable[..., Any]", machine_code)


def address_for_c(signature: Any) -> Callable[[Callable[..., Any]], int]:
    """Compiles a function for arguments of these types at once, and gives its address, as C calls it.

    Compiled code that calls the address does not contain the function: it is compiled once, and not with each caller.
    """

    def compile_now(function: Callable[..., Any]) -> int:
        machine_code: Any = compiled(function)
        machine_code.compile(signature)
        result = machine_code.overloads[signature.args]
        _kept.append(machine_code)
        return cast("int", result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))

    return compile_now


_kept: list[Any] = []
"""Functions whose addresses were given: their memory is freed with them."""


@cache
def folder_of_last_resort() -> Path | None:
    """A folder for machine code that only this user can write; None if there is none.

    Other users can write in the folders for temporary files, and whoever writes machine code there runs it here. So the
    folder must be ours alone.
    """
    if not hasattr(os, "getuid"):
        return None
    for parent in filter(None, (os.environ.get("TMPDIR"), *_SHARED_FOLDERS)):
        place = Path(parent) / f"handgrad-kernels-{os.getuid()}"
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            found = place.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                tempfile.TemporaryFile(dir=place).close()
                return place
        except OSError:
            continue
    return None


def where_kernels_are_kept() -> str | None:
    """A sentence if machine code is kept in the folder of last resort, or nowhere; None if it has its usual place."""
    if not folder_of_last_resort.cache_info().currsize:
        return None
    place = folder_of_last_resort()
    if place is None:
        return "they cannot be kept, so that every start compiles them: set NUMBA_CACHE_DIR to a folder for them"
    return f"they are kept in {place}, as neither the home nor the folder of the program can be written"


def _keep_one_at_a_time(machine_code: Any) -> None:
    """Processes that compile one kernel at the same time keep their machine code one after another.

    Numba numbers the files of a kernel by what its index holds, and locks nothing: two processes could choose one
    number, and the index of one would then lead to the code of the other.
    """
    cache, keep = machine_code._cache, machine_code._cache.save_overload

    def kept(signature: Any, compiled_code: Any) -> None:
        with waiting_for(Path(cache.cache_path) / "handgrad.lock"):
            keep(signature, compiled_code)

    cache.save_overload = kept


def _with_fingerprint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with one more closure variable. It never reads it, but Numba's cache key includes it."""
    code = function.__code__
    assert not code.co_freevars
    cell = CellType(_fingerprint(Path(code.co_filename).parent))
    named = code.replace(co_freevars=("fingerprint",))
    return FunctionType(named, function.__globals__, function.__name__, function.__defaults__, (cell,))


@cache
def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """For functions that compiled functions call: their code replaces the call.

    Numba would otherwise compile such a function with each caller, and once alone. Which machine code runs, and with it
    the last bits of the results, would then depend on what an earlier process cached.
    """
    text: Callable[..., Any] = numba.njit(inline="always", error_model="numpy", fastmath=_FAST)(function)
    return text


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    """For functions that compiled functions call, and that compute no sums or products of floats.

    They are compiled once, not with each caller, and their results do not depend on what calls them.
    """
    machine_code: Callable[..., Any] = numba.njit(
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return machine_code


@contextmanager
def told_when_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """Calls ``tell`` once, before the first kernel that Numba has to compile because its cache has no code for it."""
    listener = _Once(tell)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)


class _Once(event.Listener):
    def __init__(self, tell: Callable[[], None]) -> None:
        self.tell: Callable[[], None] | None = tell

    def on_start(self, _: Any) -> None:
        tell, self.tell = self.tell, None
        if tell is not None:
            tell()

    def on_end(self, _: Any) -> None:
        pass
