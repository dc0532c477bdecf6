"""Pictures of runs, drawn with matplotlib, which is imported only when something is drawn."""

from handgrad.plotting.bits import plot_bits
from handgrad.plotting.curves import Marks, plot_curves, plot_runs

__all__ = ["Marks", "plot_bits", "plot_curves", "plot_runs"]
