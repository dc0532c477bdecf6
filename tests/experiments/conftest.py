"""A small comparison, trained once, that many tests read."""

from collections.abc import Iterator

import pytest
from small_comparison import BUDGETS, CORPUS, SMALL

from handgrad.experiments import Measures, TokenizerComparison, create_comparison, measure, measures
from handgrad.system.backend_setting import use_backend
from handgrad.training import train


@pytest.fixture(autouse=True)
def numpy_alone() -> Iterator[None]:
    """Runs NumPy: models as small as these need no compiled kernels."""
    use_backend("numpy")
    yield
    use_backend(None)


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenizerComparison, dict[str, Measures]]:
    use_backend("numpy")
    comparison = create_comparison(tmp_path_factory.mktemp("compared") / "out", CORPUS, SMALL, tuple(BUDGETS), BUDGETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "SAMPLE_TOKENS", 60)
        measured = {}
        for entry in comparison.entries:
            run = comparison.run(entry)
            train(run, run.data())
            measured[entry.name] = measure(run, entry)
            (comparison.path / f"curves-{entry.name}.png").touch()  # as if it were drawn
    return comparison, measured
