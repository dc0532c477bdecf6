"""A graph as text: a line for each item, and beside it the ways that lead from one to the next."""

from collections.abc import Sequence

from handgrad.autograd.drawing.item import Item
from handgrad.autograd.drawing.numbers import expression_of, shapes_of, written

_MOST_WAYS = 10
"""Side by side; a graph that needs more is listed without them."""
_WIDEST_NAME, _WIDEST_VALUE = 36, 24
# By whether a line goes up, down, left and right.
_CORNERS = {
    (1, 1, 0, 0): "│", (0, 0, 1, 1): "─", (0, 1, 0, 1): "╭", (0, 1, 1, 0): "╮", (1, 0, 0, 1): "╰", (1, 0, 1, 0): "╯",
    (1, 1, 0, 1): "├", (1, 1, 1, 0): "┤", (0, 1, 1, 1): "┬", (1, 0, 1, 1): "┴", (1, 1, 1, 1): "┼",
}  # fmt: skip


def text_of(items: Sequence[Item], left_out: int, width: int) -> str:
    """A table of the items, each after its inputs, with the graph drawn at the left."""
    drawing = _drawing(items)
    ways = max(len(before) for before, _ in drawing)
    names = [expression_of(item, max(12, min(_WIDEST_NAME, width - ways - 44))) for item in items]
    shapes = [shapes_of(item, 20) for item in items]
    widths = [max(map(len, names)), max(len("shape"), *map(len, shapes))]
    room = max(width - ways - sum(widths) - 2 * 4, 16)
    values = [written(item.value, min(_WIDEST_VALUE, room // 2)) for item in items]
    value_width = max(len("value"), *map(len, values))
    gradients = [written(item.gradient, room - value_width) for item in items]
    columns = [names, shapes, values, gradients]
    heads = ["", "shape", "value", "gradient" if any(gradients) else ""]
    widths += [value_width, 0]

    def row(before: str, cells: Sequence[str]) -> str:
        return "  ".join([f"{before:{ways}}", *(f"{one:{w}}" for one, w in zip(cells, widths, strict=True))]).rstrip()

    lines = [f"… {left_out} earlier operations and leaves are left out"] * bool(left_out)
    lines.append(row("", heads))
    for i, (before, way) in enumerate(drawing):
        if way:
            lines.append(way)
        lines.append(row(before, [column[i] for column in columns]))
    return "\n".join(lines)


def _drawing(items: Sequence[Item]) -> list[tuple[str, str]]:
    """For each item, the beginning of its line, and the line above it that leads there, empty if none is needed."""
    last_use = {id(one): i for i, item in enumerate(items) for one in item.inputs if one is not None}
    lanes: list[int | None] = []  # the ways side by side: the item that each comes from
    drawn = []
    for i, item in enumerate(items):
        sources = {id(one) for one in item.inputs if one is not None} & set(lanes)
        before = list(lanes)
        used = [lane for lane, source in enumerate(lanes) if source in sources]
        ending = [lane for lane in used if last_use[lanes[lane]] == i]  # type: ignore[index]
        for lane in ending:
            lanes[lane] = None
        free = [lane for lane, source in enumerate(lanes) if source is None]
        target = ending[0] if ending else free[0] if free else len(lanes)
        if target == len(lanes):
            lanes.append(None)
        lanes[target] = id(item)
        needs_way = bool(used) and used != [target]
        way = _way(before, lanes, used, target) if needs_way else ""
        mark = "○" if item.is_leaf else "●"
        line = " ".join(mark if lane == target else " " if source is None else "│" for lane, source in enumerate(lanes))
        drawn.append((line.rstrip(), way))
        if id(item) not in last_use:
            lanes[target] = None
    if max(len(line) for line, _ in drawn) > 2 * _MOST_WAYS:
        return [(line.strip(" │"), "") for line, _ in drawn]
    return drawn


def _way(before: list[int | None], after: list[int | None], used: list[int], target: int) -> str:
    """The line that joins the lanes of the inputs with the lane of the item below it."""
    joined = {*used, target}
    low, high = min(joined), max(joined)
    signs = []
    for lane, source in enumerate(after):
        is_above = lane < len(before) and before[lane] is not None
        if lane in joined:
            sign = _CORNERS[int(is_above), int(source is not None), int(lane > low), int(lane < high)]
        else:
            sign = "│" if source is not None else "─" if low < lane < high else " "
        signs.append(sign + ("─" if low <= lane < high else " "))
    return "".join(signs).rstrip()
