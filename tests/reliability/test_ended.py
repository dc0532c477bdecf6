"""Processes that end early: at random instants, before each change to the disk, by signals, with their terminal."""

import os
import pty
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from report_table import Tally
from scenes import (
    KINDS,
    Scene,
    check_goes_on,
    check_nothing_is_broken,
    check_nothing_is_left,
    result,
    two_at_a_time,
    wait_for_step,
    was_killed,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
NewScene = Callable[..., Scene]
Undisturbed = Callable[[Scene], dict[str, object]]
IDENTICAL = "continued; weights, moments, best score and metrics are bit for bit those of an undisturbed run"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sigkill_at_random_instants(
    kind: str, scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """Kills runs repeatedly until ``wanted`` kills have hit. Each run must end as if it had never been killed."""
    if "compiled" in kind:
        pytest.importorskip("numba")
    one, wanted = scene(kind), 100 if torture else 1
    expected = undisturbed(one)
    began = time.monotonic()
    one.finish(tmp_path / "timed")
    whole = time.monotonic() - began

    def kill_until_enough(stream: int) -> int:
        rng, kills, number = random.Random(f"{kind} {stream}"), 0, 0
        while kills < wanted:
            out, number = tmp_path / f"run-{stream}-{number}", number + 1
            while True:
                process = one.start(out)
                time.sleep(rng.uniform(0.2, 0.9) * whole)
                process.kill()
                printed, errors = process.communicate()
                assert was_killed(process) or process.returncode == 0, (printed, errors)
                check_nothing_is_broken(out)
                kills += was_killed(process)
                if not was_killed(process) or kills >= wanted or rng.random() < 0.1:
                    break
            check_goes_on(one, out, expected)
        return kills

    kills = sum(two_at_a_time(kill_until_enough, range(2 if torture else 1)))
    tally("SIGKILL at a random instant", kills, IDENTICAL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind"), [("kill", "two shards"), ("tear", "two shards"), ("kill", "muon, averaged weights")]
)
def test_death_before_each_change_to_the_disk(
    fault: str, kind: str, scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    one = scene(kind, 12)
    expected = undisturbed(one)
    changes = count_changes(one, tmp_path)

    def die(number: int) -> bool:
        out = tmp_path / f"{fault}-{number}"
        process = one.sabotage(out, fault, number)
        printed, errors = process.communicate(timeout=120)
        assert was_killed(process), (number, printed, errors)
        check_goes_on(one, out, expected)
        return True

    numbers = range(1, changes + 1, 1 if torture else 29)
    died = sum(two_at_a_time(die, numbers))
    what = "SIGKILL" if fault == "kill" else "SIGKILL, half of the file that is being flushed lost,"
    tally(f"{what} before each of the {changes} changes of a run to the disk", died, IDENTICAL)


def count_changes(one: Scene, tmp_path: Path) -> int:
    """Number of changes to the disk in a whole run."""
    printed, errors = one.sabotage(tmp_path / "counted", "count", 0).communicate(timeout=120)
    assert "changes: " in printed, errors
    return int(printed.rpartition("changes: ")[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number", "code"), [("Ctrl-C", "SIGINT", 130), ("SIGTERM", "SIGTERM", 143), ("SIGHUP", "SIGHUP", 129)]
)
def test_signals_that_ask(
    name: str,
    number: str,
    code: int,
    scene: NewScene,
    undisturbed: Undisturbed,
    torture: bool,
    tally: Tally,
    tmp_path: Path,
) -> None:
    one = scene("dropout, accumulation, three shards", 200)
    expected = undisturbed(one)

    def ask(attempt: int) -> bool:
        out, rng = tmp_path / f"run-{attempt}", random.Random(f"{name} {attempt}")
        process = one.start(out)
        wait_for_step(process, out, rng.choice([0, 3, 30, 60]))
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(getattr(signal, number))
        printed, errors = process.communicate(timeout=60)
        assert process.returncode in (code, 0), (printed, errors)
        assert "Traceback" not in errors
        if process.returncode:
            assert f"handgrad train --resume {out}" in printed
        check_goes_on(one, out, expected)
        return bool(process.returncode)

    hits = sum(two_at_a_time(ask, range(12 if torture else 1)))
    assert hits
    tally(name, hits, f"saved, said how to resume, exit code {code}; {IDENTICAL}")


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once(
    scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """The second one arrives while the run finishes its step, writes the checkpoint, or exits."""
    one, attempts = scene("two shards", 200), 12 if torture else 1
    expected = undisturbed(one)

    def ask_twice(attempt: int) -> None:
        out, rng = tmp_path / f"run-{attempt}", random.Random(attempt)
        process = one.start(out)
        wait_for_step(process, out, rng.choice([0, 3, 30, 60]))
        process.send_signal(signal.SIGINT)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT), (printed, errors)
        assert "Traceback" not in errors or process.returncode == -signal.SIGINT, errors
        check_goes_on(one, out, expected)

    two_at_a_time(ask_twice, range(attempts))
    tally("Ctrl-C twice", attempts, f"ended at once; {IDENTICAL}")


@pytest.mark.slow
def test_ctrl_c_where_nobody_reads_the_output_any_more(
    scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """As in ``handgrad train 2>&1 | tee log``, where Ctrl-C ends tee at once."""
    one, attempts = scene("two shards", 200), 5 if torture else 1
    expected = undisturbed(one)
    for attempt in range(attempts):
        out = tmp_path / f"run-{attempt}"
        reading, writing = os.pipe()
        process = one.start(out, stdout=writing, stderr=writing)
        os.close(writing)
        wait_for_step(process, out, 10 * attempt + 10)
        os.close(reading)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        check_goes_on(one, out, expected)
    tally("Ctrl-C, and nobody reads the output any more", attempts, f"saved, exit code 130; {IDENTICAL}")


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["plain", "nohup"])
def test_a_terminal_that_closes(
    ignored: bool, scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """A closed terminal sends SIGHUP and takes no more output. Under nohup the run continues to its end."""
    one = scene("two shards", 200)
    expected = undisturbed(one)
    attempts = 5 if torture else 1
    for attempt in range(attempts):
        out = tmp_path / f"run-{attempt}"
        terminal, inside = pty.openpty()

        def take_terminal(terminal: int = terminal) -> None:
            import fcntl
            import termios

            os.close(terminal)
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if ignored:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

        process = one.start(
            out, stdin=inside, stdout=inside, stderr=inside, start_new_session=True, preexec_fn=take_terminal
        )
        os.close(inside)
        os.set_blocking(terminal, False)
        wait_for_step(process, out, 30, terminal)
        os.close(terminal)
        assert process.wait(timeout=60) in ((0,) if ignored else (129, 0))
        check_goes_on(one, out, expected)
    if ignored:
        tally("the terminal closes, under nohup", attempts, f"trained to its end; {IDENTICAL}")
    else:
        tally("the terminal closes", attempts, f"saved, exit code 129; {IDENTICAL}")


@pytest.mark.slow
def test_one_of_several_processes_trains(
    scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """Several processes start one new run at the same moment, then several resume it."""
    one = scene("two shards", 60)
    expected = undisturbed(one)
    refused = 0
    for attempt in range(10 if torture else 1):
        out = tmp_path / f"run-{attempt}"
        for _ in range(2):
            processes = [one.start(out) for _ in range(4)]
            for process in processes:
                _, errors = process.communicate(timeout=120)
                if process.returncode:
                    assert process.returncode == 2, errors
                    assert any(said in errors for said in ("process", "already holds a run", "no empty")), errors
                    assert errors.count("\n") == 1, errors
                    refused += 1
            assert 0 in [process.returncode for process in processes]
        assert result(out) == expected
        check_nothing_is_left(out)
    tally("another process on the same run", refused, "refused in one sentence; the first was not disturbed")


@pytest.mark.slow
def test_a_stale_lock_is_recognised(scene: NewScene, tmp_path: Path, tally: Tally, torture: bool) -> None:
    one = scene("two shards", 12)
    out = tmp_path / "run"
    one.finish(out)
    contents = [
        b"\xff\x00 garbage",
        b'{"pid": 1, "host": "elsewhere", "since": "2020-01-01 00:00:00"}\n',
        f'{{"pid": {os.getpid()}, "host": "here", "since": "now"}}'.encode(),  # the process id is in use again
        b'{"pid": "x"}',
        b"[" * 5000,
    ]
    for content in contents if torture else contents[:2]:
        (out / "lock").write_bytes(content)
        printed, errors = (process := one.start(out)).communicate(timeout=60)
        assert process.returncode == 0, (printed, errors)
        named = content[:6] == b'{"pid"' and content[8:11] != b'"x"'
        assert ("was cut off; continuing from its last checkpoint" in printed) == named, (content, printed)
        check_nothing_is_left(out)
        tally("a lock left behind, or damaged", 1, "recognised as stale, and its owner named if it says who; continued")


@pytest.mark.slow
def test_a_clock_set_back(scene: NewScene, undisturbed: Undisturbed, tmp_path: Path, tally: Tally) -> None:
    """Each sitting's clock is a day behind the one before, and the existing files are dated in the future."""
    one = scene("two shards", 200)
    expected, out, sittings = undisturbed(one), tmp_path / "run", 0
    slow_clock = (
        "import sys, time; behind, clock = float(sys.argv.pop(1)), time.time; time.time = lambda: clock() - behind; "
        "from handgrad.cli.main import main; sys.exit(main())"
    )
    while sittings < 3:
        process = one.start(out, before=("-c", slow_clock, 86400.0 * sittings))
        wait_for_step(process, out, 30 * sittings + 3)
        process.kill()
        process.communicate()
        sittings += 1
        future = time.time() + 86400 * 365
        for path in out.rglob("*"):
            os.utime(path, (future, future))
    one.finish(out, before=("-c", slow_clock, 86400.0 * 400))
    assert result(out) == expected
    check_nothing_is_left(out)
    tally("the clock set back between starts", sittings + 1, IDENTICAL)
