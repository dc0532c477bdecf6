"""handgrad plot: the curves of runs as a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.main import OK
from handgrad.plotting import plot_curves
from handgrad.runs import open_run, read_metrics
from handgrad.system.errors import InputError


@dataclass
class Arguments:
    """Draw loss, gradient norm, learning rate and improvement of one run, or of several over one another."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")]
    """The runs' directories."""
    out: Path | None = None
    """The picture; RUN/curves.png for one run, curves.png here for several."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "plot")
    if not arguments.runs:
        raise InputError("plot: name at least one run")
    runs = [open_run(path) for path in arguments.runs]
    out = arguments.out or (runs[0].curves_path if len(runs) == 1 else Path("curves.png"))
    names = [one.path.name for one in runs]
    labels = names if len(set(names)) == len(names) else [str(one.path) for one in runs]
    plot_curves({label: read_metrics(one.metrics_path) for label, one in zip(labels, runs, strict=True)}, out)
    print(out)
    return OK
