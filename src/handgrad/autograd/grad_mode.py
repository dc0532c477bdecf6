"""Whether forwards keep what a backward would need. A context variable, so threads do not disturb one another."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


def is_grad_enabled() -> bool:
    """True unless inside ``no_grad()``."""
    return _grad_enabled.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, forwards keep nothing and cannot be followed by a backward. Also a decorator: ``@no_grad()``."""
    token = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(token)


@contextmanager
def enable_grad() -> Iterator[None]:
    """Inside, forwards keep what their backward needs, even within ``no_grad()``. Also a decorator."""
    token = _grad_enabled.set(True)
    try:
        yield
    finally:
        _grad_enabled.reset(token)
