"""An array with its history: what a Tensor is before it has operators."""

import copy
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from handgrad import ops
from handgrad.arrays import Array
from handgrad.autograd.grad_mode import is_grad_enabled
from handgrad.autograd.memory import arrays_in, owner, positions_of
from handgrad.autograd.tape import Edge, Node, Version, run_backward
from handgrad.backend import Forward, outputs_of, pair_for, text_pair
from handgrad.ops.shapes import as_array

if TYPE_CHECKING:
    from handgrad.autograd.tensor import Tensor

_LOCKS = [threading.Lock() for _ in range(64)]


class Taped:
    """An array, its gradient, and the node of the tape that made it.

    ``data`` is the array itself, not a copy. In-place changes through tensors, their views, optimizers and
    ``load_state_dict`` are counted, and a backward that would need the old values raises; raw writes into ``data``
    (``x.data[0] = 1``) cannot be seen.
    """

    __slots__ = (
        "__weakref__", "_base", "_base_history", "_data", "_grad", "_history", "_is_apart", "_keeps_grad", "_node",
        "_output", "_requires_grad", "_version",
    )  # fmt: skip

    made: "ClassVar[type[Tensor]]"
    """The class of what operations return."""
    # NumPy then leaves array + tensor to the tensor, and np.exp(tensor) raises instead of losing the gradient.
    __array_ufunc__: ClassVar[None] = None

    _data: Array
    _grad: Array | None
    _requires_grad: bool
    _node: Node | None
    _output: int
    _version: Version

    def _hold(self, data: Array) -> None:
        """The state of a tensor that has no history and shares memory with no other."""
        self._data = data
        self._grad = None
        self._requires_grad = False
        self._node, self._output = None, 0
        self._version = Version()
        # A view knows whose memory it looks at, and when the history of that tensor was last changed in place.
        self._base: Taped | None = None
        self._base_history = self._history = 0
        # A view that was made under no_grad: its memory is its base's, its history is not.
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
        """Counts a change of the memory; for those who wrote into ``data`` themselves, as optimizers do."""
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
        """Forgets the gradient."""
        self.grad = None

    def accumulate(self, gradient: Array) -> None:
        """Adds to the gradient; what is used twice gets the sum of both."""
        gradient = fitting(gradient, self._data.shape, f"{type(self).__name__}: a gradient")
        with _LOCKS[id(self) // 16 % len(_LOCKS)]:  # backwards in several threads may meet at one leaf
            if self._grad is None:
                self._grad = np.array(gradient, dtype=self._data.dtype, order="C", like=gradient)
            else:
                self._grad += gradient

    def retain_grad(self) -> None:
        """Asks for ``grad`` also here, at a tensor that was computed; leaves have it anyway."""
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
        """Whether the node made this tensor, as it is now: a change in place gives it another."""
        return self._node is node

    @property
    def requires_grad(self) -> bool:
        """Whether a backward should reach this tensor. May be set on a leaf, one that was not computed."""
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

    def detach(self) -> "Tensor":
        """The same memory without the history; a change of one is a change of the other's values, as in PyTorch."""
        tensor = self.made.holding(self._data)
        tensor._version = self._version
        return tensor

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf of its own memory."""
        if not self.is_leaf:
            raise RuntimeError("copy: a computed tensor cannot be copied with its history; copy detach() instead")
        twin = self.holding(copy.deepcopy(self._data, memo))
        twin._grad, twin._requires_grad = copy.deepcopy(self._grad, memo), self._requires_grad
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    # -- the way back

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Adds ∂(Σ self · gradient)/∂leaf to the ``grad`` of every leaf that requires it.

        ``gradient``, of this shape, may be left out for a single number, where it is 1. The graph is freed on the
        way, unless ``retain_graph``.

        Raises RuntimeError where nothing requires a gradient, where a gradient is missing, where the graph was freed
        before, and where something that it saved was changed in place.
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
                    f"backward: a tensor of shape {self._data.shape} is no single number; reduce it first, as with "
                    "sum() or mean(), or pass the gradient, of the same shape"
                )
            gradient = np.ones_like(self._data)
        gradient = fitting(gradient, self._data.shape, "backward: a gradient").astype(self._data.dtype, copy=False)
        target, output = edge
        # A slope may be infinite (that of √x at 0); what to think of it is for whoever reads the gradient.
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
        """Where a gradient of this tensor goes; None where it goes nowhere."""
        if not self.requires_grad:
            return None
        return (self, 0) if self._node is None else (self._node, self._output)

    def _looks_at(self, source: "Taped", recording: bool) -> None:
        """Notes that this tensor is a view of ``source``."""
        self._version = source._version
        self._is_apart = source._is_apart or not recording
        self._base = source if source._base is None else source._base
        self._base_history = self._base._history

    def _follow_base(self) -> None:
        """After a recorded change of the memory that a view looks at, takes the view's history from there."""
        base = self._base
        if base is not None and base._history != self._base_history and not self._is_apart:
            self._base_history = base._history
            pair = text_pair(ops.view_of)
            _, saved = outputs_of(pair, (base._data,), {"positions": positions_of(self._data, base._data)})
            self._node = Node("a view", pair, saved, (base._edge(),), (), (self._data.dtype,))
            self._requires_grad, self._output = base.requires_grad, 0
            self._listen()


def apply(operation: Forward, *inputs: Any, layer: object | None = None, **options: Any) -> "Tensor":
    """Runs a pair of ``handgrad.ops`` on tensors, arrays and numbers, and records it.

    ``inputs`` are the operation's differentiable ones, in its order, None for one that is not there. ``layer`` is the
    one that applies it, for those who watch.
    """
    return apply_several(operation, *inputs, layer=layer, **options)[0]


def apply_several(operation: Forward, *inputs: Any, layer: object | None = None, **options: Any) -> "list[Tensor]":
    """The same for an operation that returns a tuple of arrays."""
    tensors = [value for value in (*inputs, *options.values()) if isinstance(value, Taped)]
    arrays = [value._data if isinstance(value, Taped) else value for value in inputs]
    plain = {name: value._data if isinstance(value, Taped) else value for name, value in options.items()}
    recording = is_grad_enabled()
    if recording:
        _refuse_to_learn(operation.__name__, options)
    edges = tuple(value._edge() if recording and isinstance(value, Taped) else None for value in inputs)
    if operation in ops.TAKE_WANTED:
        plain["wanted"] = tuple(edge is not None for edge in edges)
    pair = pair_for(operation, arrays, plain)
    output, saved = outputs_of(pair, arrays, plain, layer)
    several = isinstance(output, tuple)
    made = [Taped.made.holding(np.asarray(array)) for array in (output if several else (output,))]
    memory = [(owner(tensor._data), tensor) for tensor in tensors]
    for tensor in made:
        its_owner = owner(tensor._data)
        source = next((other for its, other in memory if its is its_owner), None)
        if source is not None:
            tensor._looks_at(source, recording)
    if any(edge is not None for edge in edges):
        guards = _guards(saved, [*tensors, *made])
        dtypes = tuple(tensor._data.dtype for tensor in made)
        node = Node(pair.name, pair, saved, edges, guards, dtypes, several, layer)
        for i, tensor in enumerate(made):
            tensor._requires_grad, tensor._node, tensor._output = True, node, i
    return made


def _refuse_to_learn(operation: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, Taped) and value.requires_grad:
            raise RuntimeError(
                f"{operation}: {name} requires a gradient, but gets none here; detach() it, or write the formula with "
                "operations that give it one"
            )


def _guards(saved: tuple[Any, ...], tensors: Sequence[Taped]) -> tuple[tuple[Version, int], ...]:
    """The versions of the tensors whose memory was saved."""
    held = {id(owner(array)) for array in arrays_in(saved)}
    return tuple((t._version, t._version.count) for t in tensors if id(owner(t._data)) in held)


def check_differentiable(dtype: np.dtype[Any]) -> None:
    """Raises TypeError for a dtype that has no gradients."""
    if dtype.kind != "f":
        raise TypeError(
            f"requires_grad: a tensor of {dtype} has no gradient, only float32 and float64 have; make it one with "
            "astype(handgrad.float32)"
        )


def fitting(value: Any, shape: tuple[int, ...], what: str) -> Array:
    """value as an array of just that shape: NumPy would broadcast silently."""
    array = as_array(value._data if isinstance(value, Taped) else value)
    if array.shape != shape:
        raise ValueError(f"{what} of shape {array.shape} cannot be assigned to one of shape {shape}")
    return array
