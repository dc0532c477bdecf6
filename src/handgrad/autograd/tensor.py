"""Tensor: an array that remembers how it was computed, and the backward pass through that history."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.autograd.dtypes import check_differentiable, supported_array
from handgrad.autograd.grad_mode import is_grad_enabled
from handgrad.autograd.shared_memory import positions_of
from handgrad.autograd.tape import Edge, Node, Version, run_backward
from handgrad.backend import outputs_of, text_pair
from handgrad.ops.shapes import Axis, as_array
from handgrad.system.arrays import Array

Ints: TypeAlias = int | Sequence[int]
_LOCKS = [threading.Lock() for _ in range(64)]


class Tensor:
    """An array of numbers that remembers how it was computed.

    ``data`` (anything NumPy makes an array of) is copied: arrays keep their dtype, Python's floats become float32,
    its ints int64. dtypes are float32, float64, int32, int64, bool; only floats may require a gradient.

    Raises TypeError for other data, and for ``requires_grad`` of integers or booleans.

    The attribute ``data`` is the array itself. Tensors count their in-place changes, also those by views, optimizers
    and ``load_state_dict``, and a backward that would need the old values raises RuntimeError. They do not notice
    direct writes into ``data`` (``x.data[0] = 1``).
    """

    __slots__ = (
        "__dict__", "__weakref__", "_base", "_base_history", "_data", "_grad", "_history", "_is_apart", "_keeps_grad",
        "_node", "_output", "_requires_grad", "_version",
    )  # fmt: skip

    __hash__ = object.__hash__  # by identity, although == compares the numbers

    # NumPy then leaves array + tensor to the tensor, and np.exp(tensor) raises instead of losing the gradient.
    __array_ufunc__: ClassVar[None] = None

    _data: Array
    _grad: Array | None
    _requires_grad: bool
    _node: Node | None
    _output: int
    _version: Version

    def __init__(self, data: Any, dtype: npt.DTypeLike | None = None, requires_grad: bool = False) -> None:
        self._hold(np.array(supported_array(unwrapped(data), dtype), order="C"))
        if requires_grad:
            check_differentiable(self._data.dtype)
            self._requires_grad = True

    def _hold(self, data: Array) -> None:
        """The state of a tensor that has no history and shares memory with no other."""
        self._data = data
        self._grad = None
        self._requires_grad = False
        self._node, self._output = None, 0
        self._version = Version()
        # A view keeps its base, and how many in-place changes of the base's history it has followed.
        self._base: Tensor | None = None
        self._base_history = self._history = 0
        # Whether this is a view made under no_grad, which shares its base's memory but not its history.
        self._is_apart = False
        self._keeps_grad = False

    # -- shape, dtype, conversions

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

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.requires_grad and is_grad_enabled():
            raise RuntimeError(
                "NumPy asked for the array of a tensor that requires a gradient, which would be lost there; use a "
                "function of handgrad, or pass detach() or data"
            )
        return np.array(self._data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return len(self._data)

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

    # -- data and gradient

    @property
    def data(self) -> Array:
        """The NumPy array. Assigning copies into it."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data[...] = fitting(value, self._data.shape, f"{type(self).__name__}: data")
        self.mark_changed()

    def mark_changed(self) -> None:
        """Counts a change of the memory; for code that writes into ``data`` directly, as optimizers do."""
        self._version.count += 1

    @property
    def grad(self) -> Array | None:
        """∂loss/∂self after a backward, an array of its shape and dtype; gradients add up until ``zero_grad``."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        self._assign_grad(None if value is None else fitting(value, self._data.shape, f"{type(self).__name__}: grad"))

    def _assign_grad(self, value: Array | None) -> None:
        self._grad = None if value is None else np.array(value, self._data.dtype, order="C")

    def zero_grad(self) -> None:
        """Clears the gradient."""
        self.grad = None

    def accumulate(self, gradient: Array) -> None:
        """Adds to the gradient; a tensor used twice gets the sum of both."""
        gradient = fitting(gradient, self._data.shape, f"{type(self).__name__}: a gradient")
        with _LOCKS[id(self) // 16 % len(_LOCKS)]:  # backwards in several threads may meet at one leaf
            if self._grad is None:
                self._grad = np.array(gradient, dtype=self._data.dtype, order="C", like=gradient)
            else:
                self._grad += gradient

    def retain_grad(self) -> None:
        """Makes a computed tensor keep its ``grad`` too; leaves always do."""
        edge = self._edge()
        if edge is None:
            raise RuntimeError(f"retain_grad: this {type(self).__name__} requires no gradient")
        if not self._keeps_grad:
            self._keeps_grad = True
            self._listen()

    def _listen(self) -> None:
        if self._keeps_grad and self._node is not None:
            self._node.listeners.append((self._output, weakref.ref(self)))

    def comes_from(self, node: Node) -> bool:
        """Whether the node made this tensor's current values: a change in place gives it another node."""
        return self._node is node

    @property
    def requires_grad(self) -> bool:
        """Whether a backward should reach this tensor. Can be set on a leaf, a tensor that was not computed."""
        self._follow_base()
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.is_leaf:
            if value:
                check_differentiable(self._data.dtype)
            self._requires_grad = bool(value)
        elif not value:
            raise RuntimeError("requires_grad: a computed tensor requires a gradient; detach() gives one that does not")

    @property
    def is_leaf(self) -> bool:
        """True for a tensor that no recorded operation made: a parameter, an input."""
        self._follow_base()
        return self._node is None

    def detach(self) -> Tensor:
        """A tensor over the same memory, without the history; changing one changes the other, as in PyTorch."""
        tensor = Tensor.holding(self._data)
        tensor._version = self._version
        return tensor

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf with memory of its own."""
        if not self.is_leaf:
            raise RuntimeError("copy: a computed tensor cannot be copied with its history; copy detach() instead")
        twin = self.holding(copy.deepcopy(self._data, memo))
        twin._grad, twin._requires_grad = copy.deepcopy(self._grad, memo), self._requires_grad
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    # -- backward

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Adds ∂(Σ self · gradient)/∂leaf to the ``grad`` of every leaf that requires it.

        ``gradient`` has this tensor's shape; for a single number it is 1 by default. The backward frees the graph,
        unless ``retain_graph`` is true.

        Raises RuntimeError if nothing requires a gradient, if ``gradient`` is missing, if the graph was freed before,
        or if a saved tensor was changed in place.
        """
        edge = self._edge()
        if edge is None:
            raise RuntimeError(
                "backward: this tensor requires no gradient: it was computed under no_grad(), detached, from tensors "
                "made without requires_grad=True, or by a layer that was called with an array, which drives it by hand"
            )
        if gradient is None:
            if self._data.size != 1:
                raise RuntimeError(
                    f"backward: a tensor of shape {self._data.shape} is not a single number; reduce it first, as with "
                    "sum() or mean(), or pass the gradient, of the same shape"
                )
            gradient = np.ones_like(self._data)
        gradient = fitting(gradient, self._data.shape, "backward: a gradient").astype(self._data.dtype, copy=False)
        target, output = edge
        # A slope may be infinite, as that of √x at 0: no reason to warn.
        with np.errstate(all="ignore"):
            if isinstance(target, Node):
                run_backward(target, output, gradient, retain_graph)
            else:
                target.accumulate(gradient)

    # -- recording

    @classmethod
    def holding(cls, data: Array) -> Self:
        """A tensor over this very array, without a history."""
        tensor = cls.__new__(cls)
        tensor._hold(data)
        return tensor

    def _edge(self) -> Edge | None:
        """Where a gradient of this tensor goes; None if it requires none."""
        if not self.requires_grad:
            return None
        return (self, 0) if self._node is None else (self._node, self._output)

    def _looks_at(self, source: Tensor, recording: bool) -> None:
        """Notes that this tensor is a view of ``source``."""
        self._version = source._version
        self._is_apart = source._is_apart or not recording
        self._base = source if source._base is None else source._base
        self._base_history = self._base._history

    def _follow_base(self) -> None:
        """After a recorded change of the base, derives the view's history from the base's."""
        base = self._base
        if base is not None and base._history != self._base_history and not self._is_apart:
            self._base_history = base._history
            pair = text_pair(ops.view_of)
            _, saved = outputs_of(pair, (base._data,), {"positions": positions_of(self._data, base._data)})
            self._node = Node("a view", pair, saved, (base._edge(),), (), (self._data,))
            self._requires_grad, self._output = base.requires_grad, 0
            self._listen()

    # -- operators and methods, which ``operators.py`` attaches: they are functions that import this class

    if TYPE_CHECKING:

        @property
        def T(self) -> Tensor: ...  # noqa: N802
        def __iter__(self) -> Iterator[Tensor]: ...
        def __add__(self, b: TensorLike) -> Tensor: ...
        def __sub__(self, b: TensorLike) -> Tensor: ...
        def __mul__(self, b: TensorLike) -> Tensor: ...
        def __truediv__(self, b: TensorLike) -> Tensor: ...
        def __floordiv__(self, b: TensorLike) -> Tensor: ...
        def __mod__(self, b: TensorLike) -> Tensor: ...
        def __pow__(self, b: TensorLike) -> Tensor: ...
        def __matmul__(self, b: TensorLike) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, b: TensorLike) -> Tensor: ...
        def __rand__(self, b: TensorLike) -> Tensor: ...
        def __or__(self, b: TensorLike) -> Tensor: ...
        def __ror__(self, b: TensorLike) -> Tensor: ...
        def __xor__(self, b: TensorLike) -> Tensor: ...
        def __rxor__(self, b: TensorLike) -> Tensor: ...
        def __radd__(self, other: TensorLike) -> Tensor: ...
        def __rsub__(self, other: TensorLike) -> Tensor: ...
        def __rmul__(self, other: TensorLike) -> Tensor: ...
        def __rtruediv__(self, other: TensorLike) -> Tensor: ...
        def __rfloordiv__(self, other: TensorLike) -> Tensor: ...
        def __rmod__(self, other: TensorLike) -> Tensor: ...
        def __rpow__(self, other: TensorLike) -> Tensor: ...
        def __rmatmul__(self, other: TensorLike) -> Tensor: ...
        def __iadd__(self, other: TensorLike) -> Tensor: ...
        def __isub__(self, other: TensorLike) -> Tensor: ...
        def __imul__(self, other: TensorLike) -> Tensor: ...
        def __itruediv__(self, other: TensorLike) -> Tensor: ...
        def __ipow__(self, other: TensorLike) -> Tensor: ...
        def __imatmul__(self, other: TensorLike) -> Tensor: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __lt__(self, b: TensorLike) -> Tensor: ...
        def __le__(self, b: TensorLike) -> Tensor: ...
        def __gt__(self, b: TensorLike) -> Tensor: ...
        def __ge__(self, b: TensorLike) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: TensorLike) -> None: ...
        def abs(self) -> Tensor: ...
        def astype(self, dtype: npt.DTypeLike) -> Tensor: ...
        def ceil(self) -> Tensor: ...
        def clip(self, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor: ...
        def cos(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def floor(self) -> Tensor: ...
        def gelu(self, approximate: Literal["tanh", "none"] = "tanh") -> Tensor: ...
        def isfinite(self) -> Tensor: ...
        def isinf(self) -> Tensor: ...
        def isnan(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def masked_fill(self, mask: TensorLike, value: TensorLike) -> Tensor: ...
        def maximum(self, b: TensorLike) -> Tensor: ...
        def minimum(self, b: TensorLike) -> Tensor: ...
        def nonzero(self) -> tuple[Tensor, ...]: ...
        def relu(self) -> Tensor: ...
        def round(self, decimals: int = 0) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def sign(self) -> Tensor: ...
        def sin(self) -> Tensor: ...
        def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def square(self) -> Tensor: ...
        def tan(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def cumprod(self, axis: int | None = None) -> Tensor: ...
        def cumsum(self, axis: int | None = None) -> Tensor: ...
        def logsumexp(
            self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False
        ) -> Tensor: ...
        def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def norm(self, ord: float | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor: ...
        def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor: ...
        def broadcast_to(self, shape: Ints) -> Tensor: ...
        def chunk(self, chunks: int, dim: int = 0, *, axis: int | None = None) -> tuple[Tensor, ...]: ...
        def clone(self) -> Tensor: ...
        def contiguous(self) -> Tensor: ...
        def copy(self) -> Tensor: ...
        def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        def expand_dims(self, axis: Ints) -> Tensor: ...
        def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor: ...
        def permute(self, *axes: Ints) -> Tensor: ...
        def repeat(self, repeats: Ints | TensorLike, axis: int | None = None) -> Tensor: ...
        def reshape(self, *shape: Ints) -> Tensor: ...
        def split(self, split_size: Ints, dim: int = 0, *, axis: int | None = None) -> tuple[Tensor, ...]: ...
        def squeeze(self, axis: Axis = None) -> Tensor: ...
        def swapaxes(self, axis1: int, axis2: int) -> Tensor: ...
        def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        def transpose(self, *axes: Ints | None) -> Tensor: ...
        def tril(self, k: int = 0, *, diagonal: int | None = None) -> Tensor: ...
        def triu(self, k: int = 0, *, diagonal: int | None = None) -> Tensor: ...
        def unsqueeze(self, dim: int) -> Tensor: ...
        def view(self, *shape: Ints) -> Tensor: ...
        def dot(self, b: TensorLike) -> Tensor: ...
        def matmul(self, b: TensorLike) -> Tensor: ...
        def mm(self, b: TensorLike) -> Tensor: ...
        def log_softmax(self, axis: int = -1, *, dim: int | None = None) -> Tensor: ...
        def softmax(self, axis: int = -1, *, dim: int | None = None) -> Tensor: ...


Number: TypeAlias = float | int | bool
TensorLike: TypeAlias = Tensor | Array | Number | Sequence[Any]
"""What functions accept as a tensor."""


def unwrapped(value: Any) -> Any:
    """The array of a tensor; nested lists with each tensor in them replaced by its array."""
    if isinstance(value, Tensor):
        return value._data
    return [unwrapped(item) for item in value] if isinstance(value, list | tuple | range) else value


def fitting(value: Any, shape: tuple[int, ...], what: str) -> Array:
    """value as an array of exactly this shape: NumPy would broadcast silently."""
    array = as_array(value._data if isinstance(value, Tensor) else value)
    if array.shape != shape:
        raise ValueError(f"{what} of shape {array.shape} cannot be assigned to one of shape {shape}")
    return array
