"""What a picture of the tape consists of: leaves, and operations with what they returned."""

import weakref

import numpy as np

from handgrad.autograd.tape import SMALL, Leaf, Node
from handgrad.autograd.tensor import Tensor
from handgrad.system.arrays import Array


class Item:
    """A leaf, or an operation with what it returned."""

    def __init__(self, key: Node | Leaf | None) -> None:
        self.is_leaf = isinstance(key, Tensor)
        self.name = ""
        """The user's name for it; empty if the user gave no name."""
        self.operation = key.name if isinstance(key, Node) else ""
        self.shapes: list[tuple[int, ...]] = []
        self.value: Array | None = None
        """A copy, if it is small."""
        self.inputs: list[Item | None] = []
        """None for a constant, which the tape does not record, and for an input that is missing."""
        self._tensor: Tensor | None = None
        self._gradient: Array | float | None = None
        if isinstance(key, Tensor):
            self._tensor, self.shapes = key, [key.shape]
            self.value = key.data.copy() if key.size <= SMALL else None
        elif isinstance(key, Node):
            self.shapes = [shape for shape, _, _ in key.outputs]
            if not key.several:
                self.value = key.outputs[0][2]
                # A tensor that keeps its gradient is asked for it; otherwise this item listens.
                kept = [tensor for _, seen in key.listeners if isinstance(tensor := seen(), Tensor)]
                self._tensor = kept[0] if kept else None
                key.listeners.append((0, weakref.ref(self)))

    @property
    def label(self) -> str:
        """What it is called in the expression of another: a parameter by the last word of its name."""
        return self.name.rpartition(".")[2] or self.operation or "leaf"

    @property
    def expression(self) -> str:
        """The operation with its inputs, as in ``c = multiply(a, exp)``; a leaf's name."""
        if self.is_leaf:
            return self.name or "leaf"
        inputs = ", ".join("–" if one is None else one.label for one in self.inputs)
        # The tape's own, "a view" and "an in-place change of a view", are no functions.
        call = self.operation if " " in self.operation else f"{self.operation}({inputs})"
        return f"{self.name} = {call}" if self.name else call

    @property
    def gradient(self) -> Array | float | None:
        """The gradient if it is small, otherwise its norm; None if no gradient has arrived."""
        if self._tensor is not None:
            return None if self._tensor.grad is None else _small_or_norm(self._tensor.grad)
        return self._gradient

    def accumulate(self, gradient: Array) -> None:
        """Keeps the gradient of the last backward."""
        self._gradient = _small_or_norm(gradient)

    def comes_from(self, node: Node) -> bool:
        """A listener of the tape is asked this; an item belongs to its node for ever."""
        return True


def _small_or_norm(gradient: Array) -> Array | float:
    return np.array(gradient) if np.size(gradient) <= SMALL else float(np.linalg.norm(gradient))


EARLIER = Item(None)
"""Stands for an input that was left out."""
EARLIER.name = "…"
