"""The table of the report: what was done to a run or a file, how many times, with what result."""

from collections.abc import Callable
from pathlib import Path

Tally = Callable[[str, int, str], None]
"""Records (what was done, how many times, with what outcome)."""


def write_table(path: Path, rows: dict[str, tuple[int, str]]) -> None:
    """Writes the table between its two marks."""
    lines = [f"| {fault} | {tried:,} | {outcome} |" for fault, (tried, outcome) in rows.items()]
    table = "\n".join(["| what was done to a run or a file | times | result |", "|---|---|---|", *lines])
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->")
    path.write_text(f"{before}<!-- table -->\n{table}\n<!-- end of table -->{after}", encoding="utf-8")
