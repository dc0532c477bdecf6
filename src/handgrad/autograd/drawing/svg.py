"""A graph as a picture: boxes in layers, each after its inputs, and curves that lead from one to the next.

The values flow along the curves, and the gradients flow back. Text and lines are of a middle lightness and the ground
is transparent, so that the picture can be read on a light page and on a dark one.
"""

from collections.abc import Sequence
from html import escape

from handgrad.autograd.drawing.item import Item
from handgrad.autograd.drawing.layers import Box, in_layers
from handgrad.autograd.drawing.numbers import expression_of, shapes_of, written

INK, VALUE, GRADIENT = "#757c85", "#2f7fc4", "#c8611b"
_CHARACTER, _LINE, _PADDING, _MARGIN = 6.7, 15, 8, 12
_WIDEST = 34
_MOST_LAYERS_IN_A_ROW = 9
"""A graph of more layers is drawn from the top down, so that a page shows it by scrolling."""

_FONT = 'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="11"'
# A notebook may put the picture into its page, so the rules name the picture that they are for.
_STYLE = """<style>
.handgrad-graph path { fill: none; stroke: currentColor; stroke-width: 1.2; marker-end: url(#tip) }
.handgrad-graph marker path { fill: currentColor; stroke: none; marker-end: none }
.handgrad-graph rect { fill: currentColor; fill-opacity: .08; stroke: currentColor }
.handgrad-graph text { fill: currentColor }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 z"/></marker></defs>"""


def svg_of(items: Sequence[Item], left_out: int) -> str:
    """The picture as SVG: values in blue, gradients in orange."""
    texts = [_lines(item) for item in items]
    sizes = [(_width(lines), len(lines) * _LINE + 2 * _PADDING) for lines in texts]
    boxes, edges, width, height = in_layers(items, sizes, _MOST_LAYERS_IN_A_ROW)
    above = _LINE + _MARGIN
    parts = [_key(left_out)]
    parts += [f'<path d="{path}"/>' for path in edges]
    parts += [_box(box, item, lines) for box, item, lines in zip(boxes, items, texts, strict=True)]
    width, height = max(width, 330) + 2 * _MARGIN, height + above + 2 * _MARGIN
    body = "\n".join([*parts[:1], f'<g transform="translate({_MARGIN},{above + _MARGIN})">', *parts[1:], "</g>"])
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    head = f'<svg class="handgrad-graph" xmlns="http://www.w3.org/2000/svg" {size} color="{INK}" {_FONT}>'
    return f"{head}\n{_STYLE}\n{body}\n</svg>\n"


def _lines(item: Item) -> list[tuple[str, str]]:
    """The lines of a box with their colours: expression and shape, value, gradient."""
    lines = [(expression_of(item, _WIDEST), ""), (shapes_of(item, _WIDEST), "")]
    value, gradient = written(item.value, _WIDEST), written(item.gradient, _WIDEST)
    if item.shapes == [()]:
        lines.pop()  # the value shows that it is a single number
    lines += [(value, VALUE)] * bool(value) + [(gradient, GRADIENT)] * bool(gradient)
    return lines


def _width(lines: Sequence[tuple[str, str]]) -> float:
    return max(len(text) for text, _ in lines) * _CHARACTER + 2 * _PADDING


def _box(box: Box, item: Item, lines: Sequence[tuple[str, str]]) -> str:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    corner = 3 if item.is_leaf else 10
    parts = [
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{corner}"'
        + (' stroke-dasharray="4 3"/>' if item.is_leaf else "/>")
    ]
    for i, (text, colour) in enumerate(lines):
        style = f' style="fill: {colour}"' if colour else "" if i else ' font-weight="bold"'
        y = top + _PADDING + (i + 0.75) * _LINE
        parts.append(f'<text x="{box.x:.1f}" y="{y:.1f}" text-anchor="middle"{style}>{escape(text)}</text>')
    return "".join(parts)


def _key(left_out: int) -> str:
    more = f"; {left_out} earlier operations and leaves are left out" if left_out else ""
    return (
        f'<text x="{_MARGIN}" y="{_MARGIN + 10}">dashed: a leaf, <tspan style="fill: {VALUE}">value</tspan>, '
        f'<tspan style="fill: {GRADIENT}">gradient</tspan>{more}</text>'
    )
