"""Several processes under mpiexec. The tests are skipped if mpi4py or mpiexec is missing."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_ROOT_MAY = ("OMPI_ALLOW_RUN_AS_ROOT", "PRTE_ALLOW_RUN_AS_ROOT")
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def mpiexec() -> str:
    """The launcher that belongs to mpi4py: beside this Python, or on the path."""
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed: pip install 'handgrad[mpi]' mpich")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec: pip install mpich")
    return found


@pytest.fixture
def launch(mpiexec: str) -> Iterator[Launch]:
    """Starts Python with arguments in several processes, or in one without mpiexec. They end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
        allowed = {f"{name}{suffix}": "1" for name in _ROOT_MAY for suffix in ("", "_CONFIRM")}
        variables = {
            **os.environ, **allowed, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
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
