"""Shared by the reliability tests: how much to try, a tally of what was tried, and results of undisturbed runs."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from report_table import Tally, write_table
from scenes import Scene, result
from support import TEXT

STEPS = 60


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether to try everything, which takes long, or a sample of each kind."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """Records (what was done, how many times, with what outcome) for the table of the report."""
    rows: dict[str, tuple[int, str]] = request.config.stash[ROWS]

    def add(fault: str, tried: int, outcome: str) -> None:
        rows[fault] = (rows.get(fault, (0, ""))[0] + tried, outcome)

    return add


@pytest.fixture(autouse=True)
def signals_reach_processes() -> Iterator[None]:
    """Processes that tests start inherit ignored signals, such as SIGHUP under nohup, but not handlers."""
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


ROWS = pytest.StashKey[dict[str, tuple[int, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --report, everything must run, and the test of the table waits until the table is written."""
    if config.getoption("--report"):
        if config.getoption("-k") or not config.getoption("--torture"):
            raise pytest.UsageError("--report needs --torture and no -k, because its table covers everything")
        items[:] = [item for item in items if item.path.name != "test_report.py"]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    report, rows = session.config.getoption("--report"), session.config.stash[ROWS]
    if report and exitstatus == 0:
        write_table(Path(report), rows)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Scene]:
    """Makes a scene of the given kind."""
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    return lambda kind="two shards", steps=STEPS: Scene(kind, steps, text)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scene], dict[str, object]]:
    """The result of a scene without disturbance."""
    known: dict[Scene, dict[str, object]] = {}

    def of(scene: Scene) -> dict[str, object]:
        if scene not in known:
            out = tmp_path_factory.mktemp("undisturbed") / "run"
            scene.finish(out)
            known[scene] = result(out)
        return known[scene]

    return of
