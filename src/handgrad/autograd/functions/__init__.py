"""Differentiable functions of tensors, arrays and numbers: each hands a pair of ``handgrad.ops`` to the tape."""

from inspect import isfunction

from handgrad.autograd.functions.elementwise import *
from handgrad.autograd.functions.elementwise import absolute as abs  # noqa: F401
from handgrad.autograd.functions.network import *
from handgrad.autograd.functions.products import *
from handgrad.autograd.functions.rearranging import *
from handgrad.autograd.functions.reductions import *

# Every public function of these files.
__all__ = sorted(
    name
    for name, value in list(globals().items())
    if isfunction(value) and value.__module__.startswith(f"{__name__}.") and not name.startswith("_")
)
