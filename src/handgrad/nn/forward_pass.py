"""Passes by hand: what one forward from outside has kept belongs together, and is of use only together."""

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


# Inside a pass all parts are driven by hand: they need not look whether they can be. Each thread has its own.
_current: ContextVar[Pass | None] = ContextVar("current_pass", default=None)


def current_pass() -> Pass | None:
    """The pass that runs in this thread; None outside of any."""
    return _current.get()


@contextmanager
def new_pass(modules: Iterable[object]) -> Iterator[None]:
    """Begins a pass of these modules, unless one runs already, and drops what they have kept of earlier ones."""
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
    """Lets go of what layers have kept. Their passes are broken by it: what other layers kept of them is of no use."""
    for module in modules:
        kept = vars(module).get("_kept")
        if kept is not None:
            kept.of_pass.is_broken = True
            vars(module)["_kept"] = None
