"""The tape: a node for each operation that was applied, and the walk back through them. It contains no formula."""

import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from handgrad.backend import Pair, gradients_of
from handgrad.system.arrays import Array

SMALL = 8
"""Up to so many elements, a node keeps a copy of what its operation returned."""

_numbers = itertools.count()


class Version:
    """How often the memory of a tensor was written to; shared by all tensors over that memory."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Leaf(Protocol):
    """What a gradient is added to: a leaf tensor."""

    def accumulate(self, gradient: Array) -> None: ...


class Listener(Leaf, Protocol):
    """A computed tensor that keeps its gradient."""

    def comes_from(self, node: "Node") -> bool: ...


class Node:
    """One application of an operation: its pair, what the backward needs, and where its gradients go.

    ``edges`` has an entry for each input: the node that made it and which of that node's outputs it is, or the leaf;
    None if no gradient is wanted. ``guards`` holds the versions of the saved tensors at the time of the forward.
    """

    __slots__ = (
        "__weakref__",
        "edges",
        "guards",
        "layer",
        "listeners",
        "name",
        "number",
        "outputs",
        "pair",
        "saved",
        "several",
    )

    def __init__(
        self,
        name: str,
        pair: Pair,
        saved: tuple[Any, ...],
        edges: "tuple[Edge | None, ...]",
        guards: tuple[tuple[Version, int], ...],
        outputs: Iterable[Array],
        several: bool = False,
        layer: object | None = None,
    ) -> None:
        self.name = name
        self.pair: Pair | None = pair
        self.saved: tuple[Any, ...] | None = saved
        self.edges = edges
        self.guards = guards
        self.outputs = tuple([(y.shape, y.dtype, y.copy() if y.size <= SMALL else None) for y in outputs])
        """The shape and dtype of each output, and so of its gradient; and its values, for a picture of the graph."""
        self.several = several
        """Whether the operation returns a tuple of outputs, and its backward takes a tuple of gradients."""
        self.layer = layer
        """The layer that applied the operation, if one did; watchers see it."""
        self.number = next(_numbers)
        """Nodes are numbered as they are made, so a node has a higher number than all those it was computed from."""
        self.listeners: list[tuple[int, weakref.ref[Listener]]] = []
        """Computed tensors that asked for their gradient."""

    def check(self) -> None:
        """Raises RuntimeError if the graph was freed, or if its gradients would be wrong."""
        if self.pair is None:
            raise RuntimeError(
                f"backward: the graph behind {self.name} was freed by an earlier backward(); run the forward again, "
                "or keep the graph with backward(retain_graph=True)"
            )
        if any(version.count != count for version, count in self.guards):
            raise RuntimeError(
                f"backward: {self.name} saved a tensor that was changed in place afterwards, so its gradient would be "
                "wrong; change a copy(), or use the form that makes a new tensor (x = x + y for x += y)"
            )

    def free(self) -> None:
        """Drops everything but the number."""
        self.pair = self.saved = self.layer = None
        self.edges = self.guards = ()
        self.listeners = []


Edge = tuple[Node | Leaf, int]


def run_backward(start: Node, output: int, gradient: Array, retain_graph: bool) -> None:
    """Takes the gradient of one output of ``start`` to every leaf that it was computed from.

    By the chain rule, a node's backward may run once the gradients of all uses of its outputs have arrived. Every use
    has a higher number than the node, so the nodes run from the highest number down.

    Raises RuntimeError, before any gradient changes, if the graph was freed or what it saved was changed.
    """
    nodes = sorted(_nodes_behind(start), key=lambda node: node.number, reverse=True)
    for node in nodes:
        node.check()
    arrived: dict[Node, list[Array | None]] = {}
    _add(arrived, start, output, gradient)
    for node in nodes:
        gradients = arrived.pop(node, None)
        if gradients is not None:
            _undo(node, gradients, arrived)
        if not retain_graph:
            node.free()


def _undo(node: Node, gradients: list[Array | None], arrived: dict[Node, list[Array | None]]) -> None:
    for output, reference in node.listeners:
        heard, listener = gradients[output], reference()
        if heard is not None and listener is not None and listener.comes_from(node):
            listener.accumulate(heard)
    assert node.pair is not None
    assert node.saved is not None
    dy = tuple(gradients) if node.several else gradients[0]
    # Optional inputs, such as a bias, come last; one that is left out has no edge.
    wanted = gradients_of(node.pair, dy, node.saved, layer=node.layer)[: len(node.edges)]
    for edge, dx in zip(node.edges, wanted, strict=True):
        if edge is None or dx is None:
            continue
        target, output = edge
        if isinstance(target, Node):
            _add(arrived, target, output, dx)
        else:
            target.accumulate(dx)


def _add(arrived: dict[Node, list[Array | None]], node: Node, output: int, gradient: Array) -> None:
    gradients = arrived.setdefault(node, [None] * len(node.outputs))
    before = gradients[output]
    # Into a new array: others may use the first one too.
    total = gradient if before is None else before + gradient
    gradients[output] = np.asarray(total, dtype=node.outputs[output][1])


def _nodes_behind(start: Node) -> Iterator[Node]:
    seen, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        yield node
        for edge in node.edges:
            if edge is not None and isinstance(edge[0], Node) and edge[0] not in seen:
                seen.add(edge[0])
                waiting.append(edge[0])
