"""handgrad plot: draws the curves of runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.main import OK
from handgrad.cli.terminal import show
from handgrad.runs import open_run
from handgrad.system.errors import InputError


@dataclass
class Arguments:
    """Draw loss, gradient norm, learning rate and loss gained of one run, or of several runs in the same panels."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...")]
    """The directories of the runs."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The picture, whose ending names the format: png, svg or pdf. The default is RUN/curves.png for one run, and
    curves.png in this directory for several."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "plot")
    if not arguments.runs:
        raise InputError("plot: name at least one run")
    runs = [open_run(path) for path in arguments.runs]
    out = arguments.out or (runs[0].curves_path if len(runs) == 1 else Path("curves.png"))
    names = [one.path.name for one in runs]
    labels = names if len(set(names)) == len(names) else [str(one.path) for one in runs]
    from handgrad.plotting import plot_runs  # matplotlib is slow to import

    plot_runs(dict(zip(labels, runs, strict=True)), out)
    show(str(out))
    return OK
