"""PyTorch as an oracle, never a dependency: without it these tests are skipped, or fail where it is required."""

import os
import warnings
from collections.abc import Iterator

import pytest

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch  # noqa: F401
except ImportError as error:
    missing_torch = f"torch is not importable ({error}): nothing to compare with"
else:
    missing_torch = ""


def pytest_pycollect_makemodule() -> None:
    """Speaks before a test module is imported, as each of them imports torch."""
    if missing_torch and os.environ.get("HANDGRAD_REQUIRE_TORCH") == "1":
        pytest.fail(f"{missing_torch}, but HANDGRAD_REQUIRE_TORCH is 1", pytrace=False)
    if missing_torch:
        pytest.skip(missing_torch)


@pytest.fixture(autouse=True)
def torch_may_warn() -> Iterator[None]:
    """Our own warnings are errors; what torch warns about inside itself is no concern of ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch(\.|$)")
        yield
