"""Training steps of whole runs under several layouts of processes and threads, in turn.

    python benchmarks/processes.py PRESET --layouts 1x2 2x1 --text FILE [--shards N] [--rounds N] [FLAG ...]

A layout is PROCESSESxTHREADS: 2x1 is ``mpiexec -n 2 handgrad train --replicas 1``. FLAG is any other of ``train``, as
``--precision bfloat16``. Each run makes the same steps with the same shards, so all have the same weights in the end,
which is checked. Prints the median time of a step.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from handgrad.benchmarking import machine

LINES = 4
"""Lines of the log that are timed; the first and the last are not, as they have compiling and evaluation in them."""


@dataclass(frozen=True)
class Timed:
    """A run's steps."""

    step: float
    """Seconds for a step, median over the lines of the log."""
    weights: str
    """A hash of the weights."""


def layout_in(word: str) -> tuple[int, int]:
    """Processes, and threads of each."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", word)
    if found is None:
        raise argparse.ArgumentTypeError(f"a layout is PROCESSESxTHREADS, as 2x1, not {word}")
    return int(found[1]), int(found[2])


def positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {word}")
    return int(word)


def command_of(layout: tuple[int, int]) -> list[str]:
    """The beginning of a command that trains in this layout."""
    processes, threads = layout
    handgrad = [sys.executable, "-m", "handgrad", "train", "--replicas", str(threads)]
    if processes == 1:
        return handgrad
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        sys.exit("there is no mpiexec: pip install 'handgrad[mpi]' mpich")
    return [found, "-n", str(processes), *handgrad]


def timed(layout: tuple[int, int], flags: list[str], interval: int) -> Timed:
    """Trains for some steps in a folder of its own."""
    steps = interval * (LINES + 2)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        times = {
            "--max-steps": steps, "--eval-interval": steps, "--checkpoint-interval": steps, "--eval-batches": 1,
            "--log-interval": interval, "--sample-interval": 0, "--out": run,
        }  # fmt: skip
        command = [*command_of(layout), *flags, *(str(each) for pair in times.items() for each in pair)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{layout}: {done.stderr[-2000:]}")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        stored = run / "checkpoints" / f"step-{steps:08d}" / "model.safetensors"
        weights = hashlib.sha256(stored.read_bytes()).hexdigest()
    seconds = [line["seconds"] for line in lines if line["step"]][: LINES + 1]
    gaps = [(later - earlier) / interval for earlier, later in itertools.pairwise(seconds)]
    return Timed(statistics.median(gaps), weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--layouts", nargs="+", type=layout_in, default=[(1, 2), (2, 1)])
    parser.add_argument("--text", required=True, type=Path)
    parser.add_argument("--shards", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--interval", type=positive, default=10, help="steps of a line of the log")
    asked, others = parser.parse_known_args()
    flags = ["--preset", asked.preset, "--text", str(asked.text), "--shards", str(asked.shards), *others]
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # they can halve NumPy's speed
        os.environ.pop(name, None)
    found: dict[tuple[int, int], list[Timed]] = {layout: [] for layout in asked.layouts}
    for layout in asked.layouts:  # compiles kernels
        timed(layout, flags, 1)
    for _ in range(asked.rounds):
        for layout in asked.layouts:
            found[layout].append(timed(layout, flags, asked.interval))
    if len({each.weights for runs in found.values() for each in runs}) != 1:
        sys.exit("the weights differ")
    print(f"{asked.preset}, {asked.shards} shards {' '.join(others)}, {machine()['processor']}")
    first = found[asked.layouts[0]]
    for (processes, threads), runs in found.items():
        step = statistics.median(each.step for each in runs)
        ratios = sorted(each.step / other.step for each, other in zip(runs, first, strict=True))
        print(
            f"  {processes}x{threads}: {step * 1000:.1f} ms a step, {statistics.median(ratios):.3f} of the first "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f} in single rounds)"
        )


if __name__ == "__main__":
    main()
