"""Pictures of runs, with matplotlib, which is imported only when asked for one."""

from handgrad.plotting.bits import plot_bits
from handgrad.plotting.curves import plot_curves

__all__ = ["plot_bits", "plot_curves"]
