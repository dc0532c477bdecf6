"""``graph(loss)``: what the tape recorded behind a tensor, kept for a picture, with the gradients as they arrive."""

from collections.abc import Iterator, Mapping
from typing import Any

from handgrad.autograd.drawing.item import EARLIER, Item
from handgrad.autograd.drawing.svg import svg_of
from handgrad.autograd.drawing.text import text_of
from handgrad.autograd.tape import Leaf, Node
from handgrad.autograd.tensor import Tensor


class Graph:
    """What the tape recorded behind a tensor. ``print`` draws it; a notebook shows it as a picture.

    Values are those of the forward; gradients appear as soon as a backward has run, also those of intermediate results,
    which the tape does not keep: for these, of the last backward. Arrays of up to 8 elements are written out; of larger
    ones, the shape and the norm of the gradient are shown.
    """

    def __init__(self, items: list[Item], left_out: int) -> None:
        self.items = items
        """Each after its inputs, leaves right before their first use; the tensor itself is the last."""
        self.left_out = left_out
        """How many earlier operations and leaves are not among them."""

    def text(self, width: int = 80) -> str:
        """The graph for a terminal, from the leaves down to the tensor: ○ a leaf, ● an operation."""
        return text_of(self.items, self.left_out, width)

    def svg(self) -> str:
        """The graph as a picture, readable on a light and on a dark ground."""
        return svg_of(self.items, self.left_out)

    def __repr__(self) -> str:
        return self.text()

    def _repr_svg_(self) -> str:
        return self.svg()


def graph(tensor: Tensor, names: Any = None, limit: int = 60) -> Graph:
    """The graph of everything that ``tensor``, such as a loss, was computed from, as the tape recorded it.

    ``names`` says what tensors are called: a module, for its parameters and layers, or a dictionary of tensors and
    modules by name, such as ``locals()``; it may hold other things too. At most ``limit`` operations and leaves are
    kept, those nearest to the tensor.

    Make it before ``backward()``, which frees the tape, and print it before or after:

        picture = handgrad.graph(loss)
        loss.backward()
        print(picture)

    Constants are not on the tape, so they are not in the graph.

    Raises TypeError for anything but a Tensor; RuntimeError if the tape recorded nothing, or if it was freed.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"graph: a Tensor is needed, such as a loss computed from Tensors, not {type(tensor).__name__}")
    edge = tensor._edge()
    if edge is None:
        raise RuntimeError(
            "graph: the tape recorded nothing for this tensor: it was computed under no_grad(), detached, or from "
            "tensors that require no gradient"
        )
    if isinstance(edge[0], Node) and edge[0].pair is None:
        raise RuntimeError(
            f"graph: the graph behind {edge[0].name} was freed by backward(); make the graph before, and print it "
            "after, or keep the tape with backward(retain_graph=True)"
        )
    order = _in_order(edge[0])
    kept = order[-max(limit, 1) :]
    items: dict[Any, Item] = {id(key): Item(key) for key in kept}
    for key in kept:
        if isinstance(key, Node):
            items[id(key)].inputs = [None if one is None else items.get(id(one[0]), EARLIER) for one in key.edges]
            _name_after_layer(key, items)
    _give_names(items, names)
    return Graph(list(items.values()), len(order) - len(kept))


def _in_order(start: Node | Leaf) -> list[Node | Leaf]:
    """All nodes and leaves behind, each after its inputs; a leaf right before the first node that uses it."""
    if not isinstance(start, Node):
        return [start]
    nodes, waiting = {start}, [start]
    while waiting:
        for edge in waiting.pop().edges:
            if edge is not None and isinstance(edge[0], Node) and edge[0] not in nodes:
                nodes.add(edge[0])
                waiting.append(edge[0])
    order: dict[int, Node | Leaf] = {}
    for node in sorted(nodes, key=lambda node: node.number):
        for edge in node.edges:
            if edge is not None and not isinstance(edge[0], Node):
                order.setdefault(id(edge[0]), edge[0])
        order[id(node)] = node
    return list(order.values())


def _name_after_layer(node: Node, items: Mapping[int, Item]) -> None:
    """Names a layer's parameters after its class and attributes, as in ``Linear.weight``."""
    if node.layer is None:
        return
    attributes = {id(value): name for name, value in vars(node.layer).items() if isinstance(value, Tensor)}
    for edge in node.edges:
        if edge is not None and id(edge[0]) in attributes and id(edge[0]) in items:
            items[id(edge[0])].name = f"{type(node.layer).__name__}.{attributes[id(edge[0])]}"


def _give_names(items: Mapping[int, Item], names: Any) -> None:
    for name, tensor in _named_tensors(names):
        edge = tensor._edge()
        item = None if edge is None else items.get(id(edge[0]))
        if item is not None and len(item.shapes) == 1:
            item.name = name


def _named_tensors(names: Any) -> Iterator[tuple[str, Tensor]]:
    if names is None:
        return
    if hasattr(names, "named_parameters"):
        yield from names.named_parameters()
        return
    if not isinstance(names, Mapping):
        raise TypeError(f"graph: names must be a module or a dictionary of tensors, not {type(names).__name__}")
    for name, value in names.items():
        if isinstance(value, Tensor) and not str(name).startswith("_"):  # a notebook calls its outputs _, _1, …
            yield str(name), value
        elif hasattr(value, "named_parameters") and not isinstance(value, type):
            yield from ((f"{name}.{inner}", parameter) for inner, parameter in value.named_parameters())
