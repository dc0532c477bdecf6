"""Training steps of whole runs under several layouts of processes and threads, in turn.

    python benchmarks/processes.py PRESET --layouts 1x2 2x1 --text FILE [--shards N] [--rounds N] [FLAG ...]

A layout is PROCESSESxTHREADS: 2x1 is ``mpiexec -n 2 handgrad train --replicas 1``. FLAG is any other of ``train``. Each
run makes the same steps with the same shards, so all have the same weights in the end, which is checked. Prints the
median time of a step, and the processor time of all processes for a step, which other work disturbs less.
"""

import argparse
import hashlib
import itertools
import json
import os
import resource
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
    processor: float
    """Seconds of all cores together from start to end, divided by the steps."""
    weights: str
    """A hash of the weights."""


def command_of(layout: str) -> list[str]:
    """The beginning of a command that trains in this layout."""
    processes, threads = layout.split("x")
    handgrad = [sys.executable, "-m", "handgrad", "train", "--replicas", threads]
    if processes == "1":
        return handgrad
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        sys.exit("there is no mpiexec: pip install 'handgrad[mpi]' mpich")
    return [found, "-n", processes, *handgrad]


def timed(layout: str, flags: list[str], interval: int) -> Timed:
    """Trains for some steps in a folder of its own."""
    steps = interval * (LINES + 2)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        times = {
            "--max-steps": steps, "--eval-interval": steps, "--checkpoint-interval": steps, "--eval-batches": 1,
            "--log-interval": interval, "--sample-interval": 0, "--out": run,
        }  # fmt: skip
        command = [*command_of(layout), *flags, *(str(each) for pair in times.items() for each in pair)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"{layout}: {done.stderr[-2000:]}")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        (checkpoint,) = (run / "checkpoints").glob(f"step-{steps:08d}")
        weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    seconds = [line["seconds"] for line in lines if line["step"]][: LINES + 1]
    gaps = [(later - earlier) / interval for earlier, later in itertools.pairwise(seconds)]
    processor = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return Timed(statistics.median(gaps), processor / steps, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--layouts", nargs="+", default=["1x2", "2x1"])
    parser.add_argument("--text", required=True, type=Path)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interval", type=int, default=10, help="steps of a line of the log")
    asked, others = parser.parse_known_args()
    flags = ["--preset", asked.preset, "--text", str(asked.text), "--shards", str(asked.shards), *others]
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    found: dict[str, list[Timed]] = {layout: [] for layout in asked.layouts}
    for layout in asked.layouts:  # compiles kernels
        timed(layout, flags, 1)
    for _ in range(asked.rounds):
        for layout in asked.layouts:
            found[layout].append(timed(layout, flags, asked.interval))
    if len({each.weights for runs in found.values() for each in runs}) != 1:
        sys.exit("the weights differ")
    print(f"{asked.preset}, {asked.shards} shards, {' '.join(others) or 'float32'}, {machine()['processor']}")
    first = statistics.median(each.step for each in found[asked.layouts[0]])
    for layout, runs in found.items():
        step, processor = (statistics.median(getattr(each, name) for each in runs) for name in ("step", "processor"))
        ratios = sorted(each.step / other.step for each, other in zip(runs, found[asked.layouts[0]], strict=True))
        print(
            f"  {layout}: {step * 1000:.1f} ms a step, {step / first:.3f} of {asked.layouts[0]} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f} in single rounds); processor {processor * 1000:.1f} ms"
        )


if __name__ == "__main__":
    main()
