"""A prepare that is killed leaves a folder beside its place. The next prepare to the same place clears it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from report_table import Tally
from scenes import HERE, two_at_a_time, was_killed
from support import TEXT, Output

from handgrad.data import open_token_files
from handgrad.system.locks import locked

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


def sabotage(fault: str, number: int, directory: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "HANDGRAD_BACKEND": "numpy"}
    command = [
        sys.executable,
        HERE / "saboteur.py",
        fault,
        number,
        directory,
        "prepare",
        "--text",
        directory / "in.txt",
    ]
    return subprocess.Popen(
        [str(part) for part in [*command, "--out", directory / "out"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def place(tmp_path: Path, name: str) -> Path:
    directory = tmp_path / name
    directory.mkdir()
    (directory / "in.txt").write_text(TEXT)
    (directory / ".out-notes").mkdir()  # a user's own
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "full"])
def test_prepare_ends_at_each_change_to_the_disk(fault: str, tmp_path: Path, torture: bool, tally: Tally) -> None:
    counted = place(tmp_path, "counted")
    printed, errors = sabotage("count", 0, counted).communicate(timeout=120)
    assert "changes: " in printed, errors
    changes = int(printed.rpartition("changes: ")[2])
    expected = {path.name: path.read_bytes() for path in (counted / "out").iterdir() if path.name != "meta.json"}

    def end(number: int) -> bool:
        directory = place(tmp_path, f"{fault}-{number}")
        process = sabotage(fault, number, directory)
        _, errors = process.communicate(timeout=120)
        ended = was_killed(process) or process.returncode == 2
        if process.returncode == 2:
            assert errors.count("\n") == 1, (number, errors)
        again = sabotage("count", 0, directory)
        _, errors = again.communicate(timeout=120)
        if again.returncode == 2:  # it was complete before it was killed
            assert "out exists and is not an empty directory" in errors
        assert again.returncode in (0, 2), (number, errors)
        names = {path.name for path in directory.iterdir()}
        made_then_killed = {name for name in names if name.endswith(".prepare.tmp")}
        assert names - made_then_killed == {"in.txt", "out", ".out-notes"}, (number, names)
        # Killed before the folder had a lock: it is empty, and might be that of a process that is just starting.
        assert len(made_then_killed) <= 1
        for name in made_then_killed:
            assert {path.name for path in (directory / name).iterdir()} <= {"lock"}, number
        found = {path.name: path.read_bytes() for path in (directory / "out").iterdir() if path.name != "meta.json"}
        assert found == expected, number
        return ended

    step = 1 if torture else 9
    ended = sum(two_at_a_time(end, range(3, changes + 1, step)))
    assert ended
    what = "SIGKILL before each" if fault == "kill" else "the disk is full from each"
    tally(
        f"{what} of the {changes} changes of a prepare to the disk",
        ended,
        "prepared again: the same files, and nothing of the first attempt is left",
    )


def test_only_what_nobody_holds_is_cleared(handgrad: Callable[..., Output], text_file: Path, tmp_path: Path) -> None:
    names = {"dead": ".out-1.prepare.tmp", "alive": ".out-2.prepare.tmp", "starting": ".out-3.prepare.tmp"}
    other = [".outer-1.prepare.tmp", ".out-mine", ".out-4.prepare.tmp"]
    for name in (*names.values(), *other):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spool").write_text("half")
    (tmp_path / other[2] / "lock").write_text("a user's words")
    holder = '{"pid": 1, "host": "here", "since": "2020-01-01 00:00:00"}\n'
    (tmp_path / names["dead"] / "lock").write_text(holder)
    (tmp_path / other[0] / "lock").write_text(holder)
    with locked(tmp_path / names["alive"]):
        assert handgrad("prepare", "--text", text_file, "--out", tmp_path / "out").code == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {text_file.name, "out", names["alive"], names["starting"], *other}
    assert open_token_files(tmp_path / "out").meta.train_tokens
    assert (tmp_path / other[2] / "lock").read_text() == "a user's words"
