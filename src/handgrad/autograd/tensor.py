"""Tensor: an array that remembers how it was computed, and the backward pass through that history."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.autograd.conversions import Conversions, fitting, unwrapped
from handgrad.autograd.copying import Copies
from handgrad.autograd.dtypes import check_differentiable, supported_array
from handgrad.autograd.methods import Methods, Number
from handgrad.autograd.shared_memory import positions_of
from handgrad.autograd.tape import Edge, Node, Version, run_backward
from handgrad.backend import outputs_of, text_pair
from handgrad.system.arrays import Array

_LOCKS = [threading.Lock() for _ in range(64)]


class Tensor(Conversions, Copies, Methods["Tensor"]):
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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradient, or fills it with zeros."""
        if set_to_none or self._grad is None:
            self.grad = None
        else:
            self._grad[...] = 0

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

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = requires_grad
        return self

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

    # -- backward

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Adds ∂(Σ self · gradient)/∂leaf to the ``grad`` of every leaf that requires it.

        ``gradient`` has this tensor's shape; for a single number it is 1 by default. The backward frees the graph,
        unless ``retain_graph`` is true.

        Raises RuntimeError if nothing requires a gradient, if ``gradient`` is missing, if the graph was freed before,
        or if a saved tensor was changed in place; NotImplementedError for ``create_graph``.
        """
        if create_graph:
            raise NotImplementedError(
                "backward: create_graph asks for gradients of gradients, which do not exist: no backward is recorded"
            )
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


TensorLike: TypeAlias = Tensor | Array | Number | Sequence[Any]
"""What functions accept as a tensor."""
