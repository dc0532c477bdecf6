"""Shared fixtures: a small text, a tiny run, the command line called in this process."""

import atexit
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handgrad.system.processor import choose_blas_kernels

choose_blas_kernels()  # before NumPy is loaded, so that another process can resume a run that is begun here

import pytest
from support import SHAKESPEARE, TEXT, TINY, Output

from handgrad.cli.main import main
from handgrad.data import Corpus, encode_corpus
from handgrad.runs import Run, create_run
from handgrad.tokenizers import make_tokenizer

# A script's background jobs ignore SIGINT, and the processes that tests start and interrupt would inherit this.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests compile the kernels themselves, as an older cache may hold other code. They do so only once: workers of
# pytest-xdist, and the processes that tests start, share the cache of the process that starts them. Several calls of
# pytest on one state of the code may share HANDGRAD_KERNELS_OF_TESTS, a new folder.
if "PYTEST_XDIST_WORKER" not in os.environ:
    shared = os.environ.get("HANDGRAD_KERNELS_OF_TESTS")
    os.environ["NUMBA_CACHE_DIR"] = shared or tempfile.mkdtemp(prefix="handgrad-numba-")
    if not shared:
        atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="the long form of tests/reliability: hundreds of kills")
    parser.addoption("--report", help="where tests/reliability puts its table, between two marks")


@pytest.fixture
def shakespeare() -> Path:
    """Tiny Shakespeare, if there is a copy beside the repository; else the test is skipped."""
    if not SHAKESPEARE.is_file():
        pytest.skip(f"tiny Shakespeare is not at {SHAKESPEARE}")
    return SHAKESPEARE


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
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes a run directory for TINY, with some fields changed."""

    def make(name: str = "run", init_from: Path | None = None, **changes: Any) -> Run:
        config = TINY.updated(changes, "test")
        corpus = Corpus(TEXT, "test text")
        data = encode_corpus(corpus, make_tokenizer(config.tokenizer, config.vocab_size).train(corpus.split()[0]))
        return create_run(tmp_path / name, config, data, None, min(config.shards, config.batch_size), init_from)

    return make


@pytest.fixture
def handgrad(capsys: pytest.CaptureFixture[str]) -> Callable[..., Output]:
    """Runs a command in this process."""

    def run(*arguments: object) -> Output:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # --help
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Output(code, captured.out, captured.err)

    return run
