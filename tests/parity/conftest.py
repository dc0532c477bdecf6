"""PyTorch as an oracle, never a dependency: without it these tests are skipped, or fail if it is required."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from threadpoolctl import threadpool_limits

from handgrad.system.processor import available_cores

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
except ImportError as error:
    missing_torch = f"torch is not importable ({error}): nothing to compare with"
else:
    missing_torch = ""


class ModuleWithoutTorch(pytest.Module):
    """A test module that pytest does not import, because it would import torch."""

    def collect(self) -> NoReturn:
        if os.environ.get("HANDGRAD_REQUIRE_TORCH") == "1":
            pytest.fail(f"{missing_torch}, but HANDGRAD_REQUIRE_TORCH is 1", pytrace=False)
        pytest.skip(missing_torch)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return ModuleWithoutTorch.from_parent(parent, path=module_path) if missing_torch else None


WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))


@pytest.fixture(autouse=True)
def share_of_the_cores() -> Iterator[None]:
    """Workers of pytest-xdist share the cores: a test with a thread on each would wait for another worker's threads."""
    if WORKERS == 1:
        yield
        return
    threads = max(1, available_cores() // WORKERS)
    torch.set_num_threads(threads)
    with threadpool_limits(threads, user_api="blas"):
        yield


@pytest.fixture(autouse=True)
def torch_may_warn() -> Iterator[None]:
    """Our own warnings are errors; what torch warns about inside itself does not concern us."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch(\.|$)")
        yield
