"""What the tests of reliability share: how much they try, what they have tried, and the runs that were left alone."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scenes import Scene, result
from support import TEXT

Tally = Callable[[str, int, str], None]
STEPS = 60


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether to try everything, which takes long, or some of each."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """Is told (what was done, how many times, with what outcome); the report makes a table of it."""
    rows: dict[str, tuple[int, str]] = request.config.stash[ROWS]

    def add(fault: str, tried: int, outcome: str) -> None:
        rows[fault] = (rows.get(fault, (0, ""))[0] + tried, outcome)

    return add


@pytest.fixture(autouse=True)
def signals_reach_processes() -> Iterator[None]:
    """What is ignored here, as SIGHUP under nohup, is ignored by the processes that tests start; a handler is not."""
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
    """Who writes the table must try everything, and cannot have it checked before it is written."""
    if config.getoption("--report"):
        if config.getoption("-k") or not config.getoption("--torture"):
            raise pytest.UsageError("--report takes --torture, and no -k: its table is of everything")
        items[:] = [item for item in items if item.path.name != "test_report.py"]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    report, rows = session.config.getoption("--report"), session.config.stash[ROWS]
    if report and exitstatus == 0:
        write_table(Path(report), rows)


def write_table(path: Path, rows: dict[str, tuple[int, str]]) -> None:
    """Puts the table between its two marks."""
    lines = [f"| {fault} | {tried:,} | {outcome} |" for fault, (tried, outcome) in rows.items()]
    table = "\n".join(["| what was done to a run or a file | times | what came of it |", "|---|---|---|", *lines])
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->")
    path.write_text(f"{before}<!-- table -->\n{table}\n<!-- end of table -->{after}", encoding="utf-8")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Scene]:
    """Makes a scene of a kind."""
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    return lambda kind="two replicas", steps=STEPS: Scene(kind, steps, text)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scene], dict[str, object]]:
    """What comes of a scene where nothing happens."""
    known: dict[Scene, dict[str, object]] = {}

    def of(scene: Scene) -> dict[str, object]:
        if scene not in known:
            out = tmp_path_factory.mktemp("undisturbed") / "run"
            scene.finish(out)
            known[scene] = result(out)
        return known[scene]

    return of
