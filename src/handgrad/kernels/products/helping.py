"""The crew of the process, and the contexts in which the threads of a team share the products of one thread."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from threading import Lock

from handgrad.kernels.products import crew
from handgrad.kernels.products.bfloat16 import PACK, multiply_share, pack_share
from handgrad.kernels.products.tiles import TILES, compute_some
from handgrad.ops.precision import Precision
from handgrad.system.compiling import compiled
from handgrad.system.threads import Team

FLOAT32 = 0
"""The code of float32 outside ``shared_by``."""

_crew = crew.new_crew()
"""The process's crew. Its memory is never freed: kernels keep its address."""
CREW = int(_crew.ctypes.data)


_is_open = Lock()
"""Held while a team helps: if helpers of two teams joined, two of them could have the same number."""


@contextmanager
def helped_by(team: Team) -> Iterator[None]:
    """Inside, the other threads of a team help with products; they do nothing else.

    The process has one crew. If another team is that crew already, this one does nothing.
    """
    if not _is_open.acquire(blocking=False):
        yield
        return
    process, helpers = os.getpid(), list[Future[None]]()
    try:
        crew.open_crew(_crew)
        while len(helpers) < min(team.size - 1, crew.MOST):
            helpers.append(team.start(lambda: _help(CREW)))
        yield
    finally:
        if os.getpid() == process:  # else this is a copy of it, without helpers, that was forked inside
            crew.close_crew(_crew)
            wait(helpers)
            _is_open.release()
            for helper in helpers:
                helper.result()


def _begin_anew() -> None:
    """Closes the crew of a process that was just forked: its helpers are in the first process alone."""
    global _is_open
    _is_open = Lock()
    crew.clear(_crew)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


_in_tiles: ContextVar[bool] = ContextVar("in_tiles", default=False)


@contextmanager
def shared_by(team: Team) -> Iterator[None]:
    """Inside, products of float32 that this thread computes are cut into tiles, and the other threads of a team help.

    BLAS must be single-threaded. Only kernels whose forward runs inside cut their products.
    """
    token = _in_tiles.set(True)
    try:
        with helped_by(team) if team.size > 1 else nullcontext():
            yield
    finally:
        _in_tiles.reset(token)


def code_of(precision: Precision) -> int:
    """A precision as compiled code takes it: 0 for float32, the address of the crew for bfloat16, and minus the address
    for float32 in tiles.
    """
    if precision == "bfloat16":
        return CREW
    return -CREW if _in_tiles.get() else FLOAT32


@compiled
def _help(by):  # type: ignore[no-untyped-def]
    """Does shares of jobs until the crew is closed."""
    helper = crew.join(by)
    while helper >= 0 and crew.next_job(by, helper):
        job = crew.job_of(by)
        if job[0] == PACK:
            pack_share(helper + 1, job)
        elif job[0] == TILES:
            compute_some(by, job)
        else:
            multiply_share(helper + 1, job)
        crew.job_is_done(by, helper)
