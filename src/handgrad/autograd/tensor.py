"""Tensor: the array with a history, and the operators and methods that NumPy's and PyTorch's users expect of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.arrays import Array
from handgrad.autograd.functions import elementwise, network, products, rearranging, reductions
from handgrad.autograd.grad_mode import is_grad_enabled
from handgrad.autograd.in_place import change_in_place
from handgrad.autograd.operands import TensorLike, as_array, operand, promoted
from handgrad.autograd.taped import Taped, check_differentiable


class Tensor(Taped):
    """An array of numbers that remembers how it was computed.

    ``data`` (anything NumPy makes an array of) is copied: arrays keep their dtype, Python's floats become float32,
    its ints int64. dtypes are float32, float64, int32, int64, bool; only floats may require a gradient.

    Raises TypeError for other data, and for ``requires_grad`` of integers or booleans.
    """

    def __init__(self, data: Any, dtype: npt.DTypeLike | None = None, requires_grad: bool = False) -> None:
        self._hold(np.array(as_array(data, dtype), order="C"))
        if requires_grad:
            check_differentiable(self._data.dtype)
            self._requires_grad = True

    # -- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        """How many axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """How many elements."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def T(self) -> "Tensor":  # noqa: N802
        """All axes in reverse order."""
        return rearranging.transpose(self)

    def numel(self) -> int:
        """How many elements."""
        return self._data.size

    def item(self) -> Any:
        """The Python number of a tensor of one element."""
        return self._data.item()

    def numpy(self) -> Array:
        """The array, not a copy."""
        return self._data

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.requires_grad and is_grad_enabled():
            raise RuntimeError(
                "NumPy asked for the array of a tensor that requires a gradient, which would be lost there; use a "
                "function of handgrad, or hand over detach() or data"
            )
        return np.array(self._data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return len(self._data)

    def __iter__(self) -> "Iterator[Tensor]":
        return (rearranging.getitem(self, i) for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._data)

    def __float__(self) -> float:
        return float(self._data.item())

    def __int__(self) -> int:
        return int(self._data.item())

    def __index__(self) -> int:
        return self._data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self._data.item(), spec) if self._data.ndim == 0 and spec else format(repr(self), spec)

    def __repr__(self) -> str:
        numbers = np.array2string(self._data, separator=", ", prefix="tensor(", threshold=200, precision=4)
        kind = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"tensor({numbers}{kind}{', requires_grad=True' if self.requires_grad else ''})"

    # -- operators

    __add__ = elementwise.add
    __sub__ = elementwise.subtract
    __mul__ = elementwise.multiply
    __truediv__ = elementwise.divide
    __floordiv__ = elementwise.floor_divide
    __mod__ = elementwise.remainder
    __pow__ = elementwise.power
    __matmul__ = products.matmul
    __neg__ = elementwise.negative
    __pos__ = rearranging.copy
    __abs__ = elementwise.absolute
    __invert__ = elementwise.bitwise_not
    __and__ = __rand__ = elementwise.bitwise_and
    __or__ = __ror__ = elementwise.bitwise_or
    __xor__ = __rxor__ = elementwise.bitwise_xor

    def __radd__(self, other: TensorLike) -> "Tensor":
        return elementwise.add(other, self)

    def __rsub__(self, other: TensorLike) -> "Tensor":
        return elementwise.subtract(other, self)

    def __rmul__(self, other: TensorLike) -> "Tensor":
        return elementwise.multiply(other, self)

    def __rtruediv__(self, other: TensorLike) -> "Tensor":
        return elementwise.divide(other, self)

    def __rfloordiv__(self, other: TensorLike) -> "Tensor":
        return elementwise.floor_divide(other, self)

    def __rmod__(self, other: TensorLike) -> "Tensor":
        return elementwise.remainder(other, self)

    def __rpow__(self, other: TensorLike) -> "Tensor":
        return elementwise.power(other, self)

    def __rmatmul__(self, other: TensorLike) -> "Tensor":
        return products.matmul(other, self)

    def __iadd__(self, other: TensorLike) -> "Tensor":  # type: ignore[misc]
        return self._change(ops.add, other)

    def __isub__(self, other: TensorLike) -> "Tensor":  # type: ignore[misc]
        return self._change(ops.subtract, other)

    def __imul__(self, other: TensorLike) -> "Tensor":  # type: ignore[misc]
        return self._change(ops.multiply, other)

    def __itruediv__(self, other: TensorLike) -> "Tensor":  # type: ignore[misc]
        return self._change(ops.divide, other)

    def __ipow__(self, other: TensorLike) -> "Tensor":  # type: ignore[misc]
        return self._change(ops.power, other)

    def __imatmul__(self, other: TensorLike) -> "Tensor":  # type: ignore[misc]
        return self._change(ops.matmul, other)

    def _change(self, operation: Any, other: TensorLike) -> "Tensor":
        value = operand(other)
        if isinstance(value, Taped):
            _, value = promoted(self, value)
        return change_in_place(self, operation, value)

    def __eq__(self, other: Any) -> Any:
        return NotImplemented if other is None else elementwise.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return NotImplemented if other is None else elementwise.not_equal(self, other)

    __lt__ = elementwise.less
    __le__ = elementwise.less_equal
    __gt__ = elementwise.greater
    __ge__ = elementwise.greater_equal
    __hash__ = object.__hash__

    __getitem__ = rearranging.getitem
    __setitem__ = rearranging.setitem

    # -- functions that are methods too

    abs = elementwise.absolute
    astype = elementwise.astype
    ceil = elementwise.ceil
    clip = elementwise.clip
    cos = elementwise.cos
    exp = elementwise.exp
    floor = elementwise.floor
    gelu = elementwise.gelu
    isfinite = elementwise.isfinite
    isinf = elementwise.isinf
    isnan = elementwise.isnan
    log = elementwise.log
    masked_fill = elementwise.masked_fill
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    nonzero = elementwise.nonzero
    relu = elementwise.relu
    round = elementwise.round
    sigmoid = elementwise.sigmoid
    sign = elementwise.sign
    sin = elementwise.sin
    softplus = elementwise.softplus
    sqrt = elementwise.sqrt
    square = elementwise.square
    tan = elementwise.tan
    tanh = elementwise.tanh

    all = reductions.all
    any = reductions.any
    argmax = reductions.argmax
    argmin = reductions.argmin
    cumprod = reductions.cumprod
    cumsum = reductions.cumsum
    logsumexp = reductions.logsumexp
    max = reductions.max
    mean = reductions.mean
    min = reductions.min
    norm = reductions.norm
    prod = reductions.prod
    std = reductions.std
    sum = reductions.sum
    var = reductions.var

    broadcast_to = rearranging.broadcast_to
    chunk = rearranging.chunk
    clone = rearranging.copy
    contiguous = rearranging.contiguous
    copy = rearranging.copy
    diagonal = rearranging.diagonal
    expand_dims = rearranging.expand_dims
    flatten = rearranging.flatten
    permute = rearranging.permute
    repeat = rearranging.repeat
    reshape = rearranging.reshape
    split = rearranging.split
    squeeze = rearranging.squeeze
    swapaxes = rearranging.swapaxes
    trace = rearranging.trace
    transpose = rearranging.transpose
    tril = rearranging.tril
    triu = rearranging.triu
    unsqueeze = rearranging.unsqueeze
    view = rearranging.view

    dot = products.dot
    matmul = products.matmul
    mm = products.mm

    log_softmax = network.log_softmax
    softmax = network.softmax


Taped.made = Tensor
