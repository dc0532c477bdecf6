"""Turns Ctrl-C, SIGTERM and a closed terminal into a flag that the training loop reads between steps."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self

from handgrad.cli.console import say


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """While entered, SIGTERM raises SystemExit, so that half-written files are removed as they are after Ctrl-C."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupts:
    """While entered, remembers the first SIGINT, SIGTERM or SIGHUP; a second one ends the program as usual.

    A terminal sends SIGHUP when it closes. A signal that is ignored, as under nohup or in the background of a script,
    is still ignored. ``speaks``: whether to say that the program ends.
    """

    def __init__(self, speaks: bool = True) -> None:
        self._speaks = speaks
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def asked(self) -> bool:
        """Whether the program has been asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The shell's code for a program ended by this signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal or 0)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        if self._speaks:
            say("stopping after this step (again to stop at once)")

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
