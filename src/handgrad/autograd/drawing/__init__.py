"""Pictures of what the tape recorded: as text for a terminal, as SVG for a notebook."""

from handgrad.autograd.drawing.graph import Graph, graph

__all__ = ["Graph", "graph"]
