"""Passes by hand: what one call from outside makes layers keep belongs together, and is only valid as a whole."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from handgrad.autograd import is_grad_enabled


class Pass:
    """One forward by hand, begun by a call from outside. What its layers keep belongs to it."""

    __slots__ = ("is_broken",)

    def __init__(self) -> None:
        self.is_broken = False
        """Whether a later pass dropped something that this one kept, so that its backward would be wrong."""


# Inside a pass all parts are driven by hand and need not check whether they can be. Each thread has its own pass.
_current: ContextVar[Pass | None] = ContextVar("current_pass", default=None)


def current_pass() -> Pass | None:
    """The pass that runs in this thread; None if none does."""
    return _current.get()


@contextmanager
def new_pass(modules: Iterable[object]) -> Iterator[None]:
    """Begins a pass of these modules, unless one runs already, and drops what they kept in earlier passes."""
    if _current.get() is not None:
        yield
        return
    if is_grad_enabled():
        drop(modules)
    token = _current.set(Pass())
    try:
        yield
    finally:
        _current.reset(token)


def drop(modules: Iterable[object]) -> None:
    """Drops what layers have kept. This breaks their passes: what other layers kept in them is no longer valid."""
    for module in modules:
        kept = vars(module).get("_kept")
        if kept is not None:
            kept.of_pass.is_broken = True
            vars(module)["_kept"] = None
