"""Whether forwards keep what a backward needs: a context variable, so threads do not disturb one another."""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar, overload

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


def is_grad_enabled() -> bool:
    """True unless inside ``no_grad()``."""
    return _grad_enabled.get()


@overload
def no_grad(function: Function) -> Function: ...
@overload
def no_grad(function: None = None) -> "_GradMode": ...
def no_grad(function: Any = None) -> Any:
    """Inside, forwards keep nothing, and no backward can follow them.

    A context, ``with no_grad():``, and a decorator, ``@no_grad()`` or ``@no_grad``.
    """
    return _mode(False, "no_grad", function)


@overload
def enable_grad(function: Function) -> Function: ...
@overload
def enable_grad(function: None = None) -> "_GradMode": ...
def enable_grad(function: Any = None) -> Any:
    """Inside, forwards keep what their backward needs, even within ``no_grad()``. A context and a decorator."""
    return _mode(True, "enable_grad", function)


def _mode(enabled: bool, name: str, function: Any) -> Any:
    if function is not None and not callable(function):
        raise TypeError(f"{name}: takes a function to decorate, not {function!r}; set_grad_enabled takes a boolean")
    return _GradMode(enabled) if function is None else _GradMode(enabled)(function)


class set_grad_enabled:  # noqa: N801 - a function to its users, as in PyTorch
    """Turns recording on or off from now on, in this thread; as a context, until the end of the context."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool | np.bool_):
            raise TypeError(f"set_grad_enabled: takes a boolean, not {mode!r}")
        self.before = _grad_enabled.get()
        self.mode = bool(mode)
        _grad_enabled.set(self.mode)

    def __enter__(self) -> None:
        _grad_enabled.set(self.mode)

    def __exit__(self, *_: object) -> None:
        _grad_enabled.set(self.before)

    def __call__(self, function: Function) -> Function:
        """Decorates a function, which alone then runs in this mode."""
        _grad_enabled.set(self.before)
        return _GradMode(self.mode)(function)


class _GradMode:
    """A mode that may be entered repeatedly, in any thread, and that decorates functions and generators."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.before = threading.local()

    def __enter__(self) -> None:
        self.before.__dict__.setdefault("modes", []).append(_grad_enabled.get())
        _grad_enabled.set(self.enabled)

    def __exit__(self, *_: object) -> None:
        _grad_enabled.set(self.before.modes.pop())

    def __call__(self, function: Function) -> Function:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generate(*args: Any, **kwargs: Any) -> Iterator[Any]:
                with self:
                    generator = function(*args, **kwargs)
                try:
                    while True:
                        with self:
                            item = next(generator, _END)
                        if item is _END:
                            return
                        yield item  # outside of the mode, which is not for the caller's code
                finally:
                    generator.close()

            return generate  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]


_END = object()
