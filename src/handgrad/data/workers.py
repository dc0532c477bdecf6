"""Processes many parts of a text at once, on all cores. Results come in the order of the parts."""

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

# Each worker holds a part of the text and its result. A process also holds an interpreter and the vocabulary.
_MOST_THREADS = 16
_MOST_PROCESSES = 6
# For less text, starting processes costs more time than they save.
_WORTH_PROCESSES = 16 << 20


@dataclass(frozen=True)
class Workers:
    """Who does the work: this thread alone (here), or ``count`` threads or processes."""

    kind: Literal["here", "threads", "processes"]
    count: int = 1


def choose_workers(releases_the_lock: bool, n_bytes: int) -> Workers:
    """Threads if the work releases the interpreter's lock; else processes if the text is long, as they start slowly."""
    cores = available_cores()
    if cores > 1 and releases_the_lock:
        return Workers("threads", min(cores, _MOST_THREADS))
    if cores > 1 and n_bytes > _WORTH_PROCESSES:
        return Workers("processes", min(cores, _MOST_PROCESSES))
    return Workers("here")


class Pool(Generic[S]):
    """Calls functions with one object that all calls share, and one item each.

    Processes are spawned, not forked. So functions must be importable by name, and arguments and results are pickled.
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
                for _ in range(workers.count):  # each call starts a process, as none is idle yet
                    self._executor.submit(int)

    def map(self, function: Callable[[S, T], R], items: Iterable[T]) -> Iterator[R]:
        """The results in the order of the items. Takes only a few more items ahead than there are workers.

        Raises what the function raises, and InputError if a process was killed from outside.
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
                "a process that worked on the text was killed from outside, most likely for lack of memory"
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
    """Delays Ctrl-C. Processes that start meanwhile inherit this and never receive it: the parent handles it."""
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
    """Runs when a process starts: keeps the object that all calls share, and sets the backend that its parent uses."""
    global _shared_here
    use_backend(backend)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for systems that cannot block it
    _shared_here = shared


def _call(function: Callable[[Any, T], R], item: T) -> R:
    return function(_shared_here, item)
