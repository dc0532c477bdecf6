"""Methods that change a tensor in place and return it, by PyTorch's names."""

from handgrad import ops
from handgrad.autograd.functions.elementwise import multiply
from handgrad.autograd.in_place import change_in_place
from handgrad.autograd.indexing import setitem
from handgrad.autograd.operands import as_tensor, operand, promoted
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.backend import Forward


def combined(x: Tensor, operation: Forward, other: TensorLike) -> Tensor:
    """x becomes operation(x, other), in x's dtype."""
    value = operand(other)
    if isinstance(value, Tensor):
        _, value = promoted(x, value)
    return change_in_place(x, operation, value)


def fill_(x: Tensor, value: TensorLike) -> Tensor:
    """Every element becomes ``value``."""
    setitem(x, ..., value)
    return x


def zero_(x: Tensor) -> Tensor:
    """Every element becomes 0."""
    return fill_(x, 0)


def copy_(x: Tensor, source: TensorLike) -> Tensor:
    """Takes over the values of ``source``, which broadcasts, in x's dtype."""
    tensor = as_tensor(source)
    setitem(x, ..., tensor if tensor.dtype == x.dtype else tensor.astype(x.dtype))
    return x


def add_(x: Tensor, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """x += alpha · other."""
    return combined(x, ops.add, other if alpha == 1 else multiply(other, alpha))


def sub_(x: Tensor, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """x -= alpha · other."""
    return combined(x, ops.subtract, other if alpha == 1 else multiply(other, alpha))


def mul_(x: Tensor, other: TensorLike) -> Tensor:
    """x *= other."""
    return combined(x, ops.multiply, other)


def div_(x: Tensor, other: TensorLike) -> Tensor:
    """x /= other."""
    return combined(x, ops.divide, other)


def pow_(x: Tensor, exponent: TensorLike) -> Tensor:
    """x **= exponent."""
    return combined(x, ops.power, exponent)


def clamp_(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x is limited to [min, max]."""
    return change_in_place(x, ops.clip, min, max)
