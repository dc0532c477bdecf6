"""The operators and methods that NumPy's and PyTorch's users expect of a tensor.

They are functions of ``functions``. Importing this module attaches them to ``Tensor``: the functions import the class,
so the class cannot import them. ``methods.py`` declares them for type checkers; a test compares the two.
"""

from collections.abc import Callable, Iterator
from typing import Any

from handgrad import ops
from handgrad.autograd import casting, changes, indexing, numpy_calls
from handgrad.autograd.functions import elementwise, network, picking, products, rearranging, reductions
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.backend import Forward

Method = Callable[..., Any]


def _reflected(function: Method) -> Method:
    def method(self: Tensor, other: TensorLike) -> Tensor:
        return function(other, self)

    return method


def _in_place(operation: Forward) -> Method:
    def method(self: Tensor, other: TensorLike) -> Tensor:
        return changes.combined(self, operation, other)

    return method


def _unless_none(compare: Method) -> Method:
    def method(self: Tensor, other: Any) -> Any:
        return NotImplemented if other is None else compare(self, other)

    return method


def _rows(self: Tensor) -> Iterator[Tensor]:
    return (indexing.getitem(self, i) for i in range(len(self)))


def _attached(methods: type) -> type:
    """Attaches what a class names to ``Tensor``."""
    for name, method in vars(methods).items():
        if name in _OF_EVERY_CLASS:
            continue
        if getattr(method, "__module__", None) == __name__:  # made here, by a function that knew no name for it
            method.__name__, method.__qualname__ = name, f"Tensor.{name}"
        setattr(Tensor, name, method)
    return methods


_OF_EVERY_CLASS = frozenset(vars(type("Empty", (), {}))) | {"__hash__", "__static_attributes__", "__firstlineno__"}


@_attached
class Operators:
    """What is written with symbols: a + b, x[i]."""

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

    __radd__ = _reflected(elementwise.add)
    __rsub__ = _reflected(elementwise.subtract)
    __rmul__ = _reflected(elementwise.multiply)
    __rtruediv__ = _reflected(elementwise.divide)
    __rfloordiv__ = _reflected(elementwise.floor_divide)
    __rmod__ = _reflected(elementwise.remainder)
    __rpow__ = _reflected(elementwise.power)
    __rmatmul__ = _reflected(products.matmul)
    __iadd__ = _in_place(ops.add)
    __isub__ = _in_place(ops.subtract)
    __imul__ = _in_place(ops.multiply)
    __itruediv__ = _in_place(ops.divide)
    __ipow__ = _in_place(ops.power)
    __imatmul__ = _in_place(ops.matmul)
    __eq__ = _unless_none(elementwise.equal)
    __ne__ = _unless_none(elementwise.not_equal)
    __lt__ = elementwise.less
    __le__ = elementwise.less_equal
    __gt__ = elementwise.greater
    __ge__ = elementwise.greater_equal

    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem

    __iter__ = _rows

    __array_ufunc__ = numpy_calls.ufunc
    __array_function__ = numpy_calls.function


@_attached
class Methods:
    """Functions that are methods too."""

    abs = elementwise.absolute
    add = elementwise.add
    astype = elementwise.astype
    ceil = elementwise.ceil
    clamp = elementwise.clamp
    clip = elementwise.clip
    cos = elementwise.cos
    div = elementwise.div
    eq = elementwise.equal
    exp = elementwise.exp
    expm1 = elementwise.expm1
    floor = elementwise.floor
    ge = elementwise.greater_equal
    gelu = elementwise.gelu
    gt = elementwise.greater
    isfinite = elementwise.isfinite
    isinf = elementwise.isinf
    isnan = elementwise.isnan
    le = elementwise.less_equal
    log = elementwise.log
    log1p = elementwise.log1p
    logical_and = elementwise.logical_and
    logical_not = elementwise.logical_not
    logical_or = elementwise.logical_or
    lt = elementwise.less
    masked_fill = elementwise.masked_fill
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    mul = elementwise.mul
    ne = elementwise.not_equal
    neg = elementwise.neg
    nonzero = elementwise.nonzero
    pow = elementwise.pow
    relu = elementwise.relu
    round = elementwise.round
    sigmoid = elementwise.sigmoid
    sign = elementwise.sign
    sin = elementwise.sin
    softplus = elementwise.softplus
    sqrt = elementwise.sqrt
    square = elementwise.square
    sub = elementwise.sub
    tan = elementwise.tan
    tanh = elementwise.tanh

    all = reductions.all
    amax = reductions.amax
    amin = reductions.amin
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

    argsort = picking.argsort
    gather = picking.gather
    sort = picking.sort
    topk = picking.topk

    broadcast_to = rearranging.broadcast_to
    chunk = rearranging.chunk
    clone = rearranging.copy
    contiguous = rearranging.contiguous
    copy = rearranging.copy
    diagonal = rearranging.diagonal
    expand = rearranging.expand
    expand_dims = rearranging.expand_dims
    flatten = rearranging.flatten
    flip = rearranging.flip
    permute = rearranging.permute
    repeat = rearranging.repeat
    reshape = rearranging.reshape
    split = rearranging.split
    squeeze = rearranging.squeeze
    swapaxes = rearranging.swapaxes
    t = rearranging.t
    tile = rearranging.tile
    trace = rearranging.trace
    transpose = rearranging.transpose
    tril = rearranging.tril
    triu = rearranging.triu
    unsqueeze = rearranging.unsqueeze
    view = rearranging.view

    bmm = products.bmm
    dot = products.dot
    matmul = products.matmul
    mm = products.mm
    outer = products.outer

    log_softmax = network.log_softmax
    softmax = network.softmax

    bool = casting.to_bool
    double = casting.to_double
    float = casting.to_float
    int = casting.to_int
    long = casting.to_long
    to = casting.to

    add_ = changes.add_
    clamp_ = changes.clamp_
    copy_ = changes.copy_
    div_ = changes.div_
    fill_ = changes.fill_
    mul_ = changes.mul_
    pow_ = changes.pow_
    sub_ = changes.sub_
    zero_ = changes.zero_

    T = property(rearranging.transpose, doc="All axes in reverse order.")
    mT = property(rearranging.matrix_transpose, doc="The last two axes exchanged.")  # noqa: N815
