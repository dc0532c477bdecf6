"""Disks that fill up, and directories that are removed or made read-only during a run."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from report_table import Tally
from scenes import (
    Scene,
    check_goes_on,
    check_nothing_is_broken,
    check_nothing_is_left,
    result,
    two_at_a_time,
    wait_for_step,
)
from test_ended import count_changes

NewScene = Callable[..., Scene]
Undisturbed = Callable[[Scene], dict[str, object]]
REFUSED = "one sentence, exit code 2, nothing half-written"
WENT_ON = "then continued, bit for bit"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "readonly"])
def test_a_disk_that_fails_from_any_change_on(
    fault: str, scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    one = scene(steps=12)
    expected = undisturbed(one)
    changes = count_changes(one, tmp_path)
    said = os.strerror(errno.ENOSPC if fault == "full" else errno.EROFS)

    def fail(number: int) -> bool:
        out = tmp_path / f"{fault}-{number}"
        process = one.sabotage(out, fault, number)
        printed, errors = process.communicate(timeout=120)
        refused = process.returncode == 2
        if refused:
            assert said in errors, (number, errors)
            assert errors.startswith("handgrad: "), (number, errors)
            assert errors.count("\n") == 1, (number, errors)
        else:  # the remaining changes need no space
            assert (process.returncode, fault) == (0, "full"), (number, printed, errors)
        check_goes_on(one, out, expected)
        return refused

    refused = sum(two_at_a_time(fail, range(1, changes + 1, 2 if torture else 29)))
    assert refused
    what = "the disk is full" if fault == "full" else "everything is read-only"
    tally(f"{what} from a change on, at every other of a run's {changes} changes", refused, f"{REFUSED}; {WENT_ON}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 400 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.slow
def test_a_real_disk_that_fills_up(
    small_disk: Path, scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally
) -> None:
    """A file beside the run grows until no space is left; later it is removed."""
    one, filled = scene("two shards", 200), 0
    expected = undisturbed(one)
    for attempt in range(10 if torture else 1):
        out = small_disk / f"run-{attempt}"
        process = one.start(out)
        wait_for_step(process, out, 12 * attempt + 3)
        with pytest.raises(OSError, match="No space"):
            fill(small_disk / "filler")
        printed, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.count("\n")) == (2, 1), (printed, errors)
        assert "No space left on device" in errors
        assert "its last checkpoint is step-" in errors
        filled += 1
        (small_disk / "filler").unlink()
        check_goes_on(one, out, expected)
        shutil.rmtree(out)
    tally("a small file system fills up", filled, f"{REFUSED}; {WENT_ON}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_that_cannot_be_written(scene: NewScene, undisturbed: Undisturbed, tally: Tally, tmp_path: Path) -> None:
    one, out = scene("two shards", 60), tmp_path / "run"
    with Path("/dev/full").open("w") as full:
        assert one.start(out, stdout=full, stderr=full).wait(timeout=60) == 0
    assert result(out) == undisturbed(one)
    check_nothing_is_left(out)
    tally("the disk of the log, not of the run, is full", 1, "trained to its end")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


def test_a_run_directory_that_is_removed(scene: NewScene, torture: bool, tally: Tally, tmp_path: Path) -> None:
    """The run notices at the next line of the metrics, and writes nothing in its place."""
    one, attempts = scene("two shards", 5000), 10 if torture else 1
    for attempt in range(attempts):
        out = tmp_path / f"run-{attempt}"
        process = one.start(out)
        wait_for_step(process, out, 10 * attempt)
        while out.exists():  # the run still adds files
            shutil.rmtree(out, ignore_errors=True)
        printed, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.count("\n")) == (2, 1), (printed, errors)
        assert f"cannot continue in {out}" in errors
        assert not out.exists()
    tally("the run's directory removed", attempts, f"noticed at the next logged step; {REFUSED}")


@pytest.mark.slow
def test_another_run_in_its_place(scene: NewScene, undisturbed: Undisturbed, tmp_path: Path, tally: Tally) -> None:
    """The directory is moved away and another run started in its place: neither writes into the other's."""
    first, second, out = scene("two shards", 5000), scene("two shards", 60), tmp_path / "run"
    process = first.start(out)
    wait_for_step(process, out, 30)
    out.rename(tmp_path / "moved")
    second.finish(out)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (2, 1), (printed, errors)
    assert result(out) == undisturbed(second)
    check_nothing_is_left(out)
    check_nothing_is_broken(tmp_path / "moved")
    tally("the run's directory moved away, and another run begun in its place", 1, f"{REFUSED} in either")


@pytest.mark.slow
def test_a_run_directory_made_read_only(
    scene: NewScene, undisturbed: Undisturbed, torture: bool, tally: Tally, tmp_path: Path
) -> None:
    one, attempts = scene("two shards", 200), 5 if torture else 1
    expected = undisturbed(one)
    for attempt in range(attempts):
        out = tmp_path / f"run-{attempt}"
        process = one.start(out, preexec_fn=write_only_where_allowed)
        wait_for_step(process, out, 10 * attempt + 10)
        directories = [out, out / "checkpoints"]
        for directory in directories:
            directory.chmod(0o500)
        printed, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.count("\n")) == (2, 1), (printed, errors)
        assert "Permission denied" in errors
        for directory in directories:
            directory.chmod(0o700)
        check_goes_on(one, out, expected)
    tally("the run's directory made read-only", attempts, f"{REFUSED}; {WENT_ON}")


def write_only_where_allowed() -> None:
    """Takes from root the right to write everywhere (CAP_DAC_OVERRIDE), before another program starts."""
    if os.geteuid() == 0:
        import ctypes

        drop_from_bounding_set, dac_override = 24, 1
        ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override)
