"""Where the boxes of a picture are: in layers, each box in a later layer than its inputs, with few crossings.

The steps are those of Sugiyama, Tagawa and Toda, 1981, "Methods for Visual Understanding of Hierarchical System
Structures": layers by the longest path; a stop in each layer that an edge passes; order within a layer by the mean
place of the neighbours; then places as near to the neighbours as the sizes allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from handgrad.autograd.drawing.item import Item

_BETWEEN_LAYERS, _WITHIN = 34.0, 14.0
_SWEEPS = 12


@dataclass(eq=False)
class Box:
    """A box by its centre; also a stop, without a size, where an edge passes a layer."""

    width: float
    height: float
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    inputs: list["Box"] = field(default_factory=list)
    users: list["Box"] = field(default_factory=list)
    place: float = 0.0
    """Its centre within the layer."""
    extent: float = 0.0
    """Its size within the layer."""
    thickness: float = 0.0
    """The size of its layer, across."""


def in_layers(
    items: Sequence[Item], sizes: Sequence[tuple[float, float]], most_in_a_row: int
) -> tuple[list[Box], list[str], float, float]:
    """The boxes in the order of the items, the edges as SVG paths, and the width and height of all.

    The layers go from left to right; if there are more than ``most_in_a_row``, from the top down.
    """
    boxes = [Box(*size) for size in sizes]
    box_of = {id(item): box for item, box in zip(items, boxes, strict=True)}
    pairs = [
        (source, box_of[id(item)])
        for item in items
        for source in dict.fromkeys(box_of[id(one)] for one in item.inputs if id(one) in box_of)
    ]
    _choose_layers(boxes, pairs)
    n = 1 + max(box.layer for box in boxes)
    down = n > most_in_a_row
    for box in boxes:
        box.extent = box.width if down else box.height
    layers: list[list[Box]] = [[] for _ in range(n)]
    for box in boxes:
        layers[box.layer].append(box)
    ways = [_with_stops(source, user, layers) for source, user in pairs]
    _order(layers)
    _place(layers)
    start = 0.0
    for layer in layers:
        thickness = max((box.height if down else box.width) for box in layer)
        for box in layer:
            along = start + thickness / 2
            box.thickness = thickness
            box.x, box.y = (box.place, along) if down else (along, box.place)
        start += thickness + _BETWEEN_LAYERS
    width = max(box.x + box.width / 2 for box in boxes)
    height = max(box.y + box.height / 2 for box in boxes)
    return boxes, [_path(way, down) for way in ways], width, height


def _choose_layers(boxes: Sequence[Box], pairs: Sequence[tuple[Box, Box]]) -> None:
    """The layer after the last input's; a box without inputs is right before its first user."""
    users: dict[Box, list[Box]] = {}
    has_inputs = set()
    for source, user in pairs:  # in order: the inputs of a source come before
        user.layer = max(user.layer, source.layer + 1)
        users.setdefault(source, []).append(user)
        has_inputs.add(user)
    for box in boxes:
        if box not in has_inputs and box in users:
            box.layer = min(user.layer for user in users[box]) - 1


def _with_stops(source: Box, user: Box, layers: list[list[Box]]) -> list[Box]:
    """The boxes that an edge visits, with a stop in each layer that it passes."""
    way = [source]
    for layer in range(source.layer + 1, user.layer):
        stop = Box(0.0, 0.0, layer)
        layers[layer].append(stop)
        way.append(stop)
    way.append(user)
    for one, other in pairwise(way):
        one.users.append(other)
        other.inputs.append(one)
    return way


def _order(layers: list[list[Box]]) -> None:
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        place = {box: float(i) for layer in layers for i, box in enumerate(layer)}
        for layer in layers if forwards else reversed(layers):
            for box in layer:
                others = box.inputs if forwards else box.users
                if others:
                    place[box] = sum(place[other] for other in others) / len(others)
            layer.sort(key=place.__getitem__)
            place.update({box: float(i) for i, box in enumerate(layer)})


def _place(layers: list[list[Box]]) -> None:
    for layer in layers:
        _put(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            wanted = []
            for box in layer:
                others = [*box.inputs, *box.users]
                wanted.append(sum(other.place for other in others) / len(others) if others else box.place)
            _put(layer, wanted)
    low = min(box.place - box.extent / 2 for layer in layers for box in layer)
    for layer in layers:
        for box in layer:
            box.place -= low


def _put(layer: Sequence[Box], wanted: Sequence[float]) -> None:
    """Puts boxes, in order and without overlap, as near as possible to the wanted places: in groups that touch, each
    around the mean of what its boxes want."""
    offsets = [0.0]
    for before, box in pairwise(layer):
        offsets.append(offsets[-1] + (before.extent + box.extent) / 2 + _WITHIN)
    groups: list[tuple[float, list[int]]] = []
    for i in range(len(layer)):
        members = [i]
        mean = wanted[i] - offsets[i]
        while groups and groups[-1][0] >= mean:
            members = groups.pop()[1] + members
            mean = sum(wanted[m] - offsets[m] for m in members) / len(members)
        groups.append((mean, members))
    for mean, members in groups:
        for m in members:
            layer[m].place = mean + offsets[m]


def _path(way: Sequence[Box], down: bool) -> str:
    """A line from the border of the first box to that of the last: straight through layers, curved between them."""
    points: list[tuple[float, float]] = []  # along the layers, and within a layer; pairs are joined by a curve
    for i, box in enumerate(way):
        along, across = (box.y, box.x) if down else (box.x, box.y)
        half = (box.height if down else box.width) / 2
        if i:
            points.append((along - box.thickness / 2, across))
        points.append((along + half if not i else along - half, across))
        if i < len(way) - 1:
            points.append((along + box.thickness / 2, across))

    def at(along: float, across: float) -> str:
        return f"{across:.1f} {along:.1f}" if down else f"{along:.1f} {across:.1f}"

    parts = [f"M{at(*points[0])}"]
    for (a0, c0), (a1, c1) in pairwise(points):
        middle = (a0 + a1) / 2
        parts.append(f"L{at(a1, c1)}" if c0 == c1 else f"C{at(middle, c0)} {at(middle, c1)} {at(a1, c1)}")
    return " ".join(parts)
