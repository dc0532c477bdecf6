"""A place where threads inside compiled code wait for one another, without Python and without asking the system.

Each thread counts its meetings in a cache line of its own, and waits until the others have counted as many. A part of a
token takes some ten microseconds, less than it takes to put a thread to sleep and wake it.
"""

import ctypes
import sys
from typing import Any

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.typing import signature
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled

_LINE = 16
"""Elements of int64 between two counters, so that no cache line holds two of them."""
_PATIENCE = 4000
"""So often a thread looks before it lets others use its core each time: they may need it to get here."""


def _yield_of_system() -> Any:
    if sys.platform == "win32":
        return ctypes.WinDLL("kernel32").SwitchToThread
    return ctypes.CDLL(None).sched_yield


llvmlite.binding.add_symbol("handgrad_yield", ctypes.cast(_yield_of_system(), ctypes.c_void_p).value)
let_others_run = types.ExternalFunction("handgrad_yield", signature(types.int32))


def new_counters(threads: int) -> Array:
    """What ``meet`` counts in: one line for each thread, and a last one that ``cancel`` writes."""
    return np.zeros((threads + 1) * _LINE, np.int64)


def cancel(counters: Array) -> None:
    """Lets every thread that waits, or comes later, go on at once, because one will not come."""
    counters[-_LINE] = 1


@intrinsic
def _read(context, array, place):  # type: ignore[no-untyped-def]
    """The element as other threads have written it last, with all that they wrote before."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        memory = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(memory, [arguments[1]]), "acquire", 8)

    return types.int64(array, types.intp), generate


@intrinsic
def _write(context, array, place, value):  # type: ignore[no-untyped-def]
    """Writes the element so that whoever reads it also reads all that this thread wrote before."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        memory = make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store_atomic(arguments[2], builder.gep(memory, [arguments[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@compiled
def meet(counters, thread, threads):  # type: ignore[no-untyped-def]
    """Returns once all threads have called this equally often."""
    if threads > 1:
        meetings = _read(counters, thread * _LINE) + 1
        _write(counters, thread * _LINE, meetings)
        for other in range(threads):
            looks = 0
            while _read(counters, other * _LINE) < meetings and _read(counters, threads * _LINE) == 0:
                looks += 1
                if looks > _PATIENCE:
                    let_others_run()
