"""Threads that help with the products of one thread: a model whose batch is a single shard has no other work for them.

Helpers stay inside compiled code and wait for jobs, because a product takes less time than it takes to wake a thread. A
job is shared by columns or by tiles. Each number is computed by one thread, in the same way, so that results do not
depend on how many help.

One crew serves the whole process. A thread that finds it busy does its job alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from handgrad.kernels.meeting import let_others_run
from handgrad.system.arrays import Array
from handgrad.system.compiling import called

_LINE = 8
"""Elements of int64 in a cache line."""
MOST = 64
"""Helpers, at most."""
ARGUMENTS = 16
"""Numbers that describe a job."""
# Places in the memory of a crew, each in a cache line of its own: whether a thread uses it, how many helpers wait, the
# number of the last job, whether helpers shall leave, the next tile, the job, and for each helper the last job that it
# has done.
_LOCK, _PRESENT, _JOB, _LEAVE, _NEXT, _WHAT, _DONE = (
    _LINE * place for place in (0, 1, 2, 3, 4, 5, 5 + ARGUMENTS // _LINE)
)
_SIZE = _DONE + MOST * _LINE
_PATIENCE = 20_000
"""So often a thread looks before it lets others use its core each time."""


_CHANGES = {"swap": "xchg", "add": "add"}


def _atomic(name: str) -> Callable[..., Any]:
    """An intrinsic on the number at an address: ``load(at)``, ``store(at, value)``, or ``swap(at, value)`` and
    ``add(at, value)``, which also return the number before. Others see all that was written before a store.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = context.get_value_type(types.int64)
        at = builder.inttoptr(arguments[0], kind.as_pointer())
        if name == "load":
            return builder.load_atomic(at, "acquire", 8)
        if name in _CHANGES:
            return builder.atomic_rmw(_CHANGES[name], at, arguments[1], "acq_rel")
        builder.store_atomic(arguments[1], at, "release", 8)
        return context.get_dummy_value()

    if name == "load":

        @intrinsic
        def load(context, at):  # type: ignore[no-untyped-def]
            return types.int64(types.int64), generate

        return load

    @intrinsic
    def write(context, at, value):  # type: ignore[no-untyped-def]
        return (types.int64 if name in _CHANGES else types.void)(types.int64, types.int64), generate

    return write


_load, _store, _swap, _add = _atomic("load"), _atomic("store"), _atomic("swap"), _atomic("add")


def new_crew() -> Array:
    """The memory of a crew without helpers, which is closed."""
    crew: Array = np.zeros(_SIZE, np.int64)
    clear(crew)
    return crew


def clear(crew: Array) -> None:
    """Makes it a crew without helpers, which is closed. No other thread may use it."""
    crew[:] = 0
    crew[_LEAVE] = 1


@called
def ask(crew):  # type: ignore[no-untyped-def]
    """How many helpers wait for a job, in the crew at this address; 0 if another thread uses the crew. If there are
    helpers, the thread that asked must call ``give`` and ``wait_for_all``.
    """
    if _load(crew + 8 * _PRESENT) == 0 or _swap(crew + 8 * _LOCK, 1) != 0:
        return 0
    present = _load(crew + 8 * _PRESENT)
    if present == 0:
        _store(crew + 8 * _LOCK, 0)
    return present


@called
def give(crew, job):  # type: ignore[no-untyped-def]
    """Tells the helpers to begin with a job, which so many numbers describe as there are ``ARGUMENTS``."""
    _store(crew + 8 * _NEXT, 0)
    for place in range(len(job)):
        _store(crew + 8 * (_WHAT + place), job[place])
    _store(crew + 8 * _JOB, _load(crew + 8 * _JOB) + 1)


@called
def job_of(crew):  # type: ignore[no-untyped-def]
    """The numbers that describe the job."""
    at = crew + 8 * _WHAT
    first = _load(at), _load(at + 8), _load(at + 16), _load(at + 24), _load(at + 32), _load(at + 40), _load(at + 48)
    second = _load(at + 56), _load(at + 64), _load(at + 72), _load(at + 80), _load(at + 88), _load(at + 96)
    return first + second + (_load(at + 104), _load(at + 112), _load(at + 120))


@called
def next_tile(crew):  # type: ignore[no-untyped-def]
    """The number of a tile of the job that no thread has taken; counted from 0, without end."""
    return _add(crew + 8 * _NEXT, 1)


@called
def wait_for_all(crew, present):  # type: ignore[no-untyped-def]
    """Returns once so many helpers have done their share, and lets other threads use the crew."""
    job = _load(crew + 8 * _JOB)
    for helper in range(present):
        looks = 0
        while _load(crew + 8 * (_DONE + helper * _LINE)) != job:
            looks += 1
            if looks > _PATIENCE:
                let_others_run()
    _store(crew + 8 * _LOCK, 0)


@called
def join(crew):  # type: ignore[no-untyped-def]
    """Makes this thread a helper; returns its number among them, or -1 if the crew is closed or full."""
    _take(crew)
    helper = _load(crew + 8 * _PRESENT)
    if _load(crew + 8 * _LEAVE) != 0 or helper >= MOST:
        helper = -1
    else:
        _store(crew + 8 * (_DONE + helper * _LINE), _load(crew + 8 * _JOB))
        _store(crew + 8 * _PRESENT, helper + 1)
    _store(crew + 8 * _LOCK, 0)
    return helper


@called
def _take(crew):  # type: ignore[no-untyped-def]
    while _swap(crew + 8 * _LOCK, 1) != 0:
        let_others_run()


@called
def next_job(crew, helper):  # type: ignore[no-untyped-def]
    """Waits for a job, and returns whether there is one: if not, the helper must leave."""
    done, looks = _load(crew + 8 * (_DONE + helper * _LINE)), 0
    while _load(crew + 8 * _JOB) == done:
        # While nobody uses the crew, no job can come. Once one helper leaves, nobody asks the others either.
        if _load(crew + 8 * _LEAVE) != 0 and _swap(crew + 8 * _LOCK, 1) == 0:
            no_job = _load(crew + 8 * _JOB) == done
            if no_job:
                _store(crew + 8 * _PRESENT, 0)
            _store(crew + 8 * _LOCK, 0)
            if no_job:
                return False
        looks += 1
        if looks > _PATIENCE:
            let_others_run()
    return True


@called
def job_is_done(crew, helper):  # type: ignore[no-untyped-def]
    """Tells the thread that gave the job."""
    _store(crew + 8 * (_DONE + helper * _LINE), _load(crew + 8 * _JOB))


def open_crew(crew: Array) -> None:
    """Lets helpers join."""
    crew[_LEAVE] = 0


def close_crew(crew: Array) -> None:
    """Makes all helpers leave once they have done their jobs."""
    crew[_LEAVE] = 1
