"""Work shared by a few threads. Arithmetic on arrays runs side by side in them, as it holds no lock of Python's."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_CACHE_LINE = 64 // 4
"""Elements of float32 in it; two threads that write to one line slow each other down."""


class Team:
    """So many threads, of which the calling one is the first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(size - 1, thread_name_prefix="team") if size > 1 else None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results in the order of the items, each of which the next thread at leisure takes.

        Raises what the function raised, once all threads have stopped.
        """
        waiting = list(items)
        results: list[Any] = [None] * len(waiting)
        numbers = count()
        failed = False

        def work() -> None:
            nonlocal failed
            try:
                while not failed and (number := next(numbers)) < len(waiting):
                    results[number] = function(waiting[number])
            except BaseException:
                failed = True  # so that nobody begins another
                raise

        helpers: list[Future[None]] = []
        if self._others is not None:
            helpers = [self._others.submit(work) for _ in range(min(self.size, len(waiting)) - 1)]
        try:
            work()
        finally:
            # One that has not begun is not needed any more; a team that is busy with us would never begin it.
            begun = [helper for helper in helpers if not helper.cancel()]
            failures = [helper.exception() for helper in begun]
        for failure in failures:
            if failure is not None:
                raise failure
        return results

    def pieces(self, size: int) -> list[slice]:
        """A range of elements cut into as many pieces as there are threads, or fewer where it is short."""
        each = max(-(-size // self.size), 1)
        each += -each % _CACHE_LINE
        return [slice(start, min(start + each, size)) for start in range(0, size, each)]

    def close(self) -> None:
        """Lets the threads go."""
        if self._others is not None:
            self._others.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


ALONE = Team(1)
"""The calling thread."""
