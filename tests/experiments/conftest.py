"""A small comparison, trained once, that many tests read."""

from collections.abc import Iterator

import pytest
from support import TINY

from handgrad.data import Corpus
from handgrad.experiments import Budget, Measures, TokenizerComparison, create_comparison, measure, measures
from handgrad.system.backend_setting import use_backend
from handgrad.training import train

SMALL = TINY.updated(
    {"n_layer": 1, "n_embd": 8, "max_steps": 24, "eval_interval": 8, "log_interval": 1, "checkpoint_interval": 8},
    "test",
)
# With capitals and, in the validation part at the end, a new word.
VERSE = "Whether 'tis Nobler in the mind to suffer the slings and arrows, Or to take arms.\n"
CORPUS = Corpus(VERSE * 40 + "Whether unaided in the mind the Whereas.\n" * 2 + VERSE, "verses | <b>.txt")
BUDGETS = {"char": Budget(24), "word": Budget(900, "characters"), "word-lowercase": Budget(8)}


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
