"""Pictures of runs, with matplotlib, which is imported only when asked for one."""

from handgrad.plotting.curves import plot_curves

__all__ = ["plot_curves"]
