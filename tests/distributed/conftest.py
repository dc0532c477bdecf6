"""Several processes under mpiexec. The tests are skipped if mpi4py or mpiexec is missing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import LET_OPEN_MPI

Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(mpiexec: str) -> Iterator[Launch]:
    """Starts Python with arguments in several processes, or in one without mpiexec. They end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
        variables = {
            **os.environ, **LET_OPEN_MPI,
            "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1]))),
            "PYTHONDONTWRITEBYTECODE": "1", **environment,
        }  # fmt: skip
        several = [mpiexec, "-n", str(count)] if count else []
        process = subprocess.Popen(
            [*several, sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
