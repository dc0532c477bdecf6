"""Whether forwards keep what a backward would need. A context variable, so threads do not disturb one another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager  # a context and a decorator

Function = TypeVar("Function", bound=Callable[..., Any])

_grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


def is_grad_enabled() -> bool:
    """True unless inside ``no_grad()``."""
    return _grad_enabled.get()


@overload
def no_grad(function: Function) -> Function: ...
@overload
def no_grad(function: None = None) -> "_GeneratorContextManager[None]": ...
def no_grad(function: Any = None) -> Any:
    """Inside, forwards keep nothing and cannot be followed by a backward.

    A context, ``with no_grad():``, and a decorator, ``@no_grad()`` or ``@no_grad``.
    """
    return _mode(False) if function is None else _mode(False)(function)


@overload
def enable_grad(function: Function) -> Function: ...
@overload
def enable_grad(function: None = None) -> "_GeneratorContextManager[None]": ...
def enable_grad(function: Any = None) -> Any:
    """Inside, forwards keep what their backward needs, even within ``no_grad()``. A context and a decorator."""
    return _mode(True) if function is None else _mode(True)(function)


@contextmanager
def _mode(enabled: bool) -> Iterator[None]:
    token = _grad_enabled.set(enabled)
    try:
        yield
    finally:
        _grad_enabled.reset(token)
