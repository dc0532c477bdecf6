"""The tape: a node for each operation that was applied, and the walk back through them. It knows no formula."""

import itertools
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from handgrad.arrays import Array
from handgrad.backend import Backward, gradients_of

_numbers = itertools.count()


class Version:
    """How often the memory of a tensor was written to; shared by all who look at that memory."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Leaf(Protocol):
    """Where a gradient comes to rest."""

    def accumulate(self, gradient: Array) -> None: ...


class Node:
    """One application of an operation: its backward, what that needs, and where its gradients go.

    ``edges`` has a place for each input: the node that made it and which of that node's outputs it is, or the leaf;
    None where no gradient is wanted. ``guards`` are the versions of what was saved, as they were then.
    """

    __slots__ = ("__weakref__", "backward", "edges", "guards", "listeners", "n_outputs", "name", "number", "saved")

    def __init__(
        self,
        name: str,
        backward: Backward,
        saved: tuple[Any, ...],
        edges: "tuple[Edge | None, ...]",
        guards: tuple[tuple[Version, int], ...],
        n_outputs: int | None,
    ) -> None:
        self.name = name
        self.backward: Backward | None = backward
        self.saved: tuple[Any, ...] | None = saved
        self.edges = edges
        self.guards = guards
        self.n_outputs = n_outputs
        """None where the operation returns an array, the number of them where it returns several."""
        self.number = next(_numbers)
        """Nodes are numbered as they are made: an operation's number is above those of all that it came from."""
        self.listeners: list[tuple[int, Leaf]] = []

    def check(self) -> None:
        """Raises RuntimeError where the way back is no longer there, or would be wrong."""
        if self.backward is None:
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
        """Lets go of everything but the number."""
        self.backward = self.saved = None
        self.edges = self.guards = ()
        self.listeners = []


Edge = tuple[Node | Leaf, int]


def run_backward(start: Node, output: int, gradient: Array, retain_graph: bool) -> None:
    """Takes the gradient of one output of ``start`` to every leaf that it came from.

    By the chain rule a node may be undone once the gradients of all uses of its outputs are in. Every use has a
    higher number, so from the highest number down they are.

    Raises RuntimeError, before any gradient has been touched, where the graph was freed or what it saved was changed.
    """
    nodes = sorted(_nodes_behind(start), key=lambda node: node.number, reverse=True)
    for node in nodes:
        node.check()
    arrived: dict[Node, list[Array | None]] = {start: _added([None] * (start.n_outputs or 1), output, gradient)}
    for node in nodes:
        gradients = arrived.pop(node, None)
        if gradients is not None:
            _undo(node, gradients, arrived)
        if not retain_graph:
            node.free()


def _undo(node: Node, gradients: list[Array | None], arrived: dict[Node, list[Array | None]]) -> None:
    for output, leaf in node.listeners:
        if (heard := gradients[output]) is not None:
            leaf.accumulate(heard)
    assert node.backward is not None
    assert node.saved is not None
    dy = gradients[0] if node.n_outputs is None else tuple(gradients)
    # Inputs that may be left out, as a bias, come last and have no edge then.
    wanted = gradients_of(node.backward, dy, node.saved)[: len(node.edges)]
    for edge, dx in zip(node.edges, wanted, strict=True):
        if edge is None or dx is None:
            continue
        target, output = edge
        if isinstance(target, Node):
            if target not in arrived:
                arrived[target] = [None] * (target.n_outputs or 1)
            _added(arrived[target], output, dx)
        else:
            target.accumulate(dx)


def _added(gradients: list[Array | None], output: int, dx: Array) -> list[Array | None]:
    # Into a new array: the one that came first may serve others too.
    before = gradients[output]
    gradients[output] = np.asarray(dx if before is None else before + dx)
    return gradients


def _nodes_behind(start: Node) -> Iterator[Node]:
    seen, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        yield node
        for edge in node.edges:
            if edge is not None and isinstance(edge[0], Node) and edge[0] not in seen:
                seen.add(edge[0])
                waiting.append(edge[0])
