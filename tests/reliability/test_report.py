"""docs/reliability.md has the results of the long form, with everything that it tries."""

import re
from pathlib import Path

import pytest
from report_table import write_table
from test_fuzz import TARGETS

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
ROW = re.compile(r"^\| (.*) \| ([\d,]+) \| (.*) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def rows() -> dict[str, int]:
    return {fault: int(tried.replace(",", "")) for fault, tried, _ in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))}


def test_every_file_and_enough_of_each_is_there(rows: dict[str, int]) -> None:
    assert {f"fuzz: {name}" for name in TARGETS} <= set(rows)
    assert rows["SIGKILL at a random instant"] >= 200
    assert sum(tried for fault, tried in rows.items() if fault.startswith("fuzz: ")) >= 20_000
    for fault in (
        "a file of the last checkpoint that cannot be read",
        "a part of a run replaced by a link to elsewhere",
        "an id in a token file changed in place while it is trained on",
        "whole commands with odd flags, files and streams, some with a signal",
    ):
        assert rows[fault] >= 1, fault
    assert rows["SIGKILL of a random one of 2 to 4 processes that train together"] >= 100
    assert rows["SIGKILL of all of 2 to 4 processes that train together, and of their launcher"] >= 50
    for fault in ("Ctrl-C", "SIGTERM", "SIGHUP", "the terminal closes", "the clock set back between starts"):
        assert rows[fault] >= 1
    for kind in (
        "SIGKILL before each",
        "the disk is full from a",
        "everything is read-only from a",
        "a read of a run's",
    ):
        assert any(fault.startswith(kind) for fault in rows), kind


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("above\n<!-- table -->\nold\n<!-- end of table -->\nbelow\n")
    write_table(path, {"a fault": (1234, "an outcome")})
    text = path.read_text()
    assert ROW.findall(text) == [("a fault", "1,234", "an outcome")]
    assert text.startswith("above\n<!-- table -->\n| what")
    assert text.endswith("|\n<!-- end of table -->\nbelow\n")
    write_table(path, {"a fault": (1234, "an outcome")})
    assert path.read_text() == text
