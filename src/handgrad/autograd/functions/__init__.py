"""Differentiable functions of tensors, arrays and numbers: each hands a pair of ``handgrad.ops`` to the tape."""

from inspect import isfunction
from typing import TYPE_CHECKING

from handgrad.autograd.functions.elementwise import *
from handgrad.autograd.functions.network import *
from handgrad.autograd.functions.picking import *
from handgrad.autograd.functions.products import *
from handgrad.autograd.functions.rearranging import *
from handgrad.autograd.functions.reductions import *

abs = absolute  # noqa: F405

if not TYPE_CHECKING:  # type checkers find the same names in the files
    __all__ = sorted(
        name
        for name, value in list(globals().items())
        if isfunction(value) and value.__module__.startswith(f"{__name__}.") and not name.startswith("_")
    )

    def __dir__() -> list[str]:
        return __all__
