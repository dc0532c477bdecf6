"""Work on many parts of a text at once, on all cores, with the results in the order of the parts."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

from handgrad.system.backend_setting import forced_backend, use_backend
from handgrad.system.errors import InputError
from handgrad.system.processor import available_cores

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

# Each worker holds a part of the text and what becomes of it; a process holds an interpreter and the vocabulary too.
_MOST_THREADS = 16
_MOST_PROCESSES = 6
# For less text the start of the processes takes longer than they save.
_WORTH_PROCESSES = 16 << 20


@dataclass(frozen=True)
class Workers:
    """Who does the work: this thread alone (here), or so many threads or processes."""

    kind: Literal["here", "threads", "processes"]
    count: int = 1


def choose_workers(releases_the_lock: bool, n_bytes: int) -> Workers:
    """Threads where the work releases the interpreter's lock; else processes, if so much text is worth their start."""
    cores = available_cores()
    if cores > 1 and releases_the_lock:
        return Workers("threads", min(cores, _MOST_THREADS))
    if cores > 1 and n_bytes > _WORTH_PROCESSES:
        return Workers("processes", min(cores, _MOST_PROCESSES))
    return Workers("here")


class Pool(Generic[S]):
    """Calls functions with something that all calls share, and one thing after another.

    Processes are started anew rather than forked, so functions must be found by their names, and what goes in and out
    is pickled.
    """

    def __init__(self, shared: S, workers: Workers) -> None:
        self._shared, self._workers = shared, workers
        self._executor: Executor | None = None
        if workers.kind == "threads":
            self._executor = ThreadPoolExecutor(workers.count, thread_name_prefix="text")
        elif workers.kind == "processes":
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(workers.count, context, _begin, (shared, forced_backend()))
            with _interrupts_held_back():
                for _ in range(workers.count):  # a process starts with a call that finds none at leisure
                    self._executor.submit(int)

    def map(self, function: Callable[[S, T], R], items: Iterable[T]) -> Iterator[R]:
        """The results in the order of the items, of which only a few more than there are workers are under way.

        Raises what the function raises, and InputError where a process was ended from outside.
        """
        if self._executor is None:
            for item in items:
                yield function(self._shared, item)
            return
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(self._submit(self._executor, function, item))
                if len(waiting) > self._workers.count + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                "a process that worked on the text was ended from outside, most likely for lack of memory"
            ) from None

    def _submit(self, executor: Executor, function: Callable[[S, T], R], item: T) -> Future[R]:
        if self._workers.kind == "processes":
            return executor.submit(_call, function, item)
        return executor.submit(function, self._shared, item)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits a moment, and never reaches the processes that start meanwhile: they need not answer it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_shared_here: Any = None


def _begin(shared: Any, backend: str | None) -> None:
    """What a process begins with: what all calls share, and the backend that its parent was told to use."""
    global _shared_here
    use_backend(backend)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for systems where it cannot be held back
    _shared_here = shared


def _call(function: Callable[[Any, T], R], item: T) -> R:
    return function(_shared_here, item)
