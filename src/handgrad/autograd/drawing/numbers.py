"""Arrays of a few numbers, written in a given width."""

from collections.abc import Sequence
from typing import Any

from handgrad.autograd.drawing.item import Item
from handgrad.system.arrays import Array


def written(value: Array | float | None, width: int) -> str:
    """An array as nested lists, with … for the numbers that do not fit; a float as a norm; nothing for None."""
    if value is None:
        return ""
    for digits in (4, 3, 2):
        text = f"norm {value:.{digits}g}" if isinstance(value, float) else _nested(value.tolist(), digits)
        if len(text) <= width:
            return text
    whole = 0 if isinstance(value, float) else text.rfind(", ", 0, width - 1)
    return f"{text[:whole]}, …"[:width] if whole > 0 else ""


def shapes_of(item: Item, width: int) -> str:
    """The shape of what an item holds; of an operation with several outputs, all of them that fit."""
    text = ", ".join(map(str, item.shapes))
    return text if len(text) <= width else f"{text[: width - 1]}…"


def expression_of(item: Item, width: int) -> str:
    """An item's expression, with … for what does not fit: the end of an operation, the beginning of a leaf's name."""
    text = item.expression
    if len(text) <= width:
        return text
    return f"…{text[1 - width :]}" if item.is_leaf else f"{text[: width - 1]}…"


def _nested(value: Any, digits: int) -> str:
    if isinstance(value, Sequence):
        return f"[{', '.join(_nested(one, digits) for one in value)}]"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
