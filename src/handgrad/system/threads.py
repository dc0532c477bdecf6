"""Work shared by a few threads. Arithmetic on arrays runs in parallel, as NumPy releases Python's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_CACHE_LINE = 64 // 4
"""In elements of float32. Two threads that write to one cache line slow each other down."""


class Team:
    """``size`` threads, including the calling one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(size - 1, thread_name_prefix="team") if size > 1 else None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results in the order of the items. The next free thread takes the next item.

        If the function raises, raises the same once all threads have stopped.
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
                failed = True  # so that no thread takes another item
                raise

        helpers: list[Future[None]] = []
        if self._others is not None:
            helpers = [self._others.submit(work) for _ in range(min(self.size, len(waiting)) - 1)]
        try:
            work()
        finally:
            # A helper that has not begun is not needed any more. If the team is busy with this call, it never begins.
            begun = [helper for helper in helpers if not helper.cancel()]
            failures = [helper.exception() for helper in begun]
        for failure in failures:
            if failure is not None:
                raise failure
        return results

    def start(self, function: Callable[[], R]) -> "Future[R]":
        """Calls the function in another thread of the team, at once if that is idle."""
        assert self._others is not None
        return self._others.submit(function)

    def together(self, function: Callable[[int], None], give_up: Callable[[], None]) -> None:
        """Calls function(0) here and function(1), … in the other threads, all at the same time: they may wait for one
        another. If one raises, ``give_up`` is called, which must end the others, and then this raises the same.

        No other call of this team may run.
        """
        others: list[Future[None]] = []
        try:
            for number in range(1, self.size):
                assert self._others is not None
                others.append(self._others.submit(_or_give_up, function, number, give_up))
            function(0)
        except BaseException:
            give_up()
            raise
        finally:
            wait(others)
        for other in others:
            other.result()

    def pieces(self, size: int) -> list[slice]:
        """A range of elements cut into one piece per thread, or fewer if it is short."""
        each = max(-(-size // self.size), 1)
        each += -each % _CACHE_LINE
        return [slice(start, min(start + each, size)) for start in range(0, size, each)]

    def close(self) -> None:
        """Stops the threads."""
        if self._others is not None:
            self._others.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _or_give_up(function: Callable[[int], None], number: int, give_up: Callable[[], None]) -> None:
    try:
        function(number)
    except BaseException:
        give_up()
        raise


ALONE = Team(1)
"""The calling thread."""
