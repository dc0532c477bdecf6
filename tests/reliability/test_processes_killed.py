"""Processes under mpiexec that train one run, and are killed at random instants: one of them, or all at once."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from report_table import Tally
from scenes import Scene, check_goes_on, check_nothing_is_broken, two_at_a_time
from support import LET_OPEN_MPI

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in Linux's /proc"),
]
COUNTS = (2, 3, 4)
SECONDS_TO_END = 10
"""After a process is killed, all others must be gone by then."""
OUTCOME = (
    f"all ended within {SECONDS_TO_END} seconds; continued in another number of processes; weights, moments, best "
    "score and metrics are bit for bit those of one process that was not disturbed"
)


FAULTS = {
    "one": "SIGKILL of a random one of 2 to 4 processes that train together",
    "all": "SIGKILL of all of 2 to 4 processes that train together, and of their launcher",
}


@pytest.mark.parametrize(("which", "wanted"), [("one", 100), ("all", 50)])
def test_processes_killed_at_random_instants(
    which: str,
    wanted: int,
    scene: Callable[..., Scene],
    undisturbed: Callable[[Scene], dict[str, object]],
    mpiexec: str,
    torture: bool,
    tally: Tally,
    tmp_path: Path,
) -> None:
    one = scene("dropout, accumulation, three shards")
    expected = undisturbed(one)
    began = time.monotonic()
    in_processes(one, mpiexec, COUNTS[1], tmp_path / "timed").communicate(timeout=120)
    whole = time.monotonic() - began
    wanted = wanted if torture else 1

    def kill_until_enough(stream: int) -> int:
        rng, kills, number = random.Random(f"{which} {stream}"), 0, 0
        while kills < wanted / 2:
            out, number, count = tmp_path / f"run-{stream}-{number}", number + 1, 0
            while True:
                count = rng.choice([other for other in COUNTS if other != count])
                launched = in_processes(one, mpiexec, count, out)
                try:
                    started = wait_for_ranks(launched, count)
                    time.sleep(rng.uniform(0.05, 0.8) * whole)
                    started |= launched_by(launched.pid)
                    kill(started if which == "all" else [rng.choice(ranks_of(started))])
                    printed, errors = launched.communicate(timeout=SECONDS_TO_END)
                    wait_until_gone(started)
                finally:
                    if launched.poll() is None:
                        kill(launched_by(launched.pid))
                was_hit = launched.returncode != 0
                assert was_hit or "best checkpoint" in printed, (printed, errors)
                check_nothing_is_broken(out)
                kills += was_hit
                if not was_hit or kills >= wanted / 2 or rng.random() < 0.1:
                    break
            check_goes_on(one, out, expected)
        return kills

    kills = sum(two_at_a_time(kill_until_enough, range(2 if torture else 1)))
    assert kills
    tally(FAULTS[which], kills, OUTCOME)


def in_processes(one: Scene, mpiexec: str, count: int, out: Path) -> "subprocess.Popen[str]":
    """Begins or resumes a run in so many processes."""
    return one.start(out, launcher=(mpiexec, "-n", count), env=LET_OPEN_MPI, stdin=subprocess.DEVNULL)


def wait_for_ranks(launched: "subprocess.Popen[str]", count: int) -> dict[int, str]:
    """Waits until the launcher has started so many processes; returns all of them, and what else it has started."""
    deadline = time.monotonic() + 60
    while len(ranks_of(started := launched_by(launched.pid))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return started


def ranks_of(started: dict[int, str]) -> list[int]:
    """The processes that train."""
    return [pid for pid, program in started.items() if program == sys.executable]


def launched_by(launcher: int) -> dict[int, str]:
    """The launcher and the processes that it has started, directly and not, with their programs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            parent = parent_of(int(entry.name))
            children.setdefault(parent, []).append(int(entry.name))
    found = [launcher]
    for pid in found:
        found += children.get(pid, [])
    return {pid: program_of(pid) for pid in found}


def parent_of(pid: int) -> int:
    """0 if there is no such process, or if it has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return 0
    return 0 if state == "Z" else int(parent)


def program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""


def kill(pids: Iterable[int]) -> None:
    """Kills those of these processes that still run."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until_gone(pids: dict[int, str]) -> None:
    deadline = time.monotonic() + SECONDS_TO_END
    while left := [pid for pid, program in pids.items() if parent_of(pid) and program_of(pid) == program]:
        assert time.monotonic() < deadline, f"processes {left} go on"
        time.sleep(0.05)
