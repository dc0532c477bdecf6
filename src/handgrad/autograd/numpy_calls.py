"""What happens when NumPy's functions are called with tensors.

Those that a symbol stands for, np.add for +, do what the symbol does. All others compute with the arrays. That raises
an error for a tensor that requires a gradient, as NumPy would lose it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.autograd.functions import elementwise, products
from handgrad.autograd.tensor import Tensor

_SYMBOLS: dict[Any, Callable[..., Tensor]] = {
    np.add: elementwise.add,
    np.subtract: elementwise.subtract,
    np.multiply: elementwise.multiply,
    np.divide: elementwise.divide,
    np.floor_divide: elementwise.floor_divide,
    np.remainder: elementwise.remainder,
    np.power: elementwise.power,
    np.matmul: products.matmul,
    np.equal: elementwise.equal,
    np.not_equal: elementwise.not_equal,
    np.less: elementwise.less,
    np.less_equal: elementwise.less_equal,
    np.greater: elementwise.greater,
    np.greater_equal: elementwise.greater_equal,
    np.bitwise_and: elementwise.bitwise_and,
    np.bitwise_or: elementwise.bitwise_or,
    np.bitwise_xor: elementwise.bitwise_xor,
}

_ASK_NO_NUMBERS = {np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.result_type}
"""Functions that read shape and dtype alone, so that no gradient is lost."""


def ufunc(x: Tensor, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """``function`` of NumPy on inputs among which is a tensor."""
    of_symbol = _SYMBOLS.get(function)
    if of_symbol is not None and method == "__call__" and not options:
        return of_symbol(*inputs)
    return getattr(function, method)(*_arrays(inputs), **_arrays(options))


def function(x: Tensor, function: Callable[..., Any], types: Any, inputs: Any, options: Any) -> Any:
    """The same for functions that are no ufuncs, such as np.mean and np.stack."""
    if function in _ASK_NO_NUMBERS:
        inputs = tuple(value.data if isinstance(value, Tensor) else value for value in inputs)
    return function(*_arrays(inputs), **_arrays(options))


def _arrays(value: Any) -> Any:
    """The value, with the array of each tensor in it in its place."""
    if isinstance(value, Tensor):
        return value.__array__()
    if isinstance(value, list | tuple):
        return type(value)(map(_arrays, value)) if type(value) in (list, tuple) else value
    return {name: _arrays(each) for name, each in value.items()} if isinstance(value, dict) else value
