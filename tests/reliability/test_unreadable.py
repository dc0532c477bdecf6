"""Files that the disk does not give back: each is named, and another checkpoint replaces an unreadable one."""

import builtins
import errno
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from report_table import Tally
from scenes import Scene, check_goes_on, check_nothing_is_left, result, two_at_a_time, was_killed
from support import Output

from handgrad.models.formats.model_in_checkpoint import damaged_by
from handgrad.runs import open_run
from handgrad.runs.retention import checkpoints_of
from handgrad.system.errors import DamagedError, InputError
from handgrad.system.files import naming, read_file, read_text
from handgrad.training import train

NewRun = Callable[..., Any]
NewScene = Callable[..., Scene]
PARTS = ("model.safetensors", "optimizer.safetensors", "state.json")


class Unreadable(io.RawIOBase):
    """A file that opens, and whose reads fail without a name, as those of a bad disk do."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@contextmanager
def unreadable(*victims: Path) -> Iterator[None]:
    """While entered, reads of these files fail."""
    opened, named = io.open, {str(victim) for victim in victims}

    def open_or_fail(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        reads = "r" in mode and "+" not in mode
        if reads and isinstance(file, str | os.PathLike) and os.fspath(file) in named:
            buffered = io.BufferedReader(Unreadable())
            return buffered if "b" in mode else io.TextIOWrapper(buffered)
        return opened(file, mode, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_or_fail)
        patch.setattr(builtins, "open", open_or_fail)
        yield


@pytest.fixture
def stopped(new_run: NewRun) -> Path:
    run = new_run(keep=3)
    left = iter(range(14))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    assert checkpoints_of(run.path)[0] == "step-00000014"
    (run.path / "best").write_text("step-00000014\n")
    path: Path = run.path
    return path


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("command", ["resume", "sample", "eval"])
def test_an_unreadable_checkpoint_is_named_and_the_one_before_is_used(
    handgrad: Callable[..., Output], stopped: Path, new_run: NewRun, part: str, command: str, tally: Tally
) -> None:
    victim = stopped / "checkpoints" / "step-00000014" / part
    flags = {"resume": ["train", "--resume", stopped], "sample": ["sample", stopped, "--tokens", 3]}
    with unreadable(victim):
        done = handgrad(*flags.get(command, ["eval", stopped]))
    assert done.code == 0, done.err
    assert f"{victim.parent} is damaged: {part} cannot be read: Input/output error\n" in done.err
    assert "using step-00000012 instead\n" in done.err
    aside = stopped / "checkpoints" / "damaged-step-00000014"
    assert aside.exists() == (command == "resume")  # kept, for whoever can still read it
    if command == "resume":
        whole = new_run("whole", keep=3)
        train(whole, whole.data())
        assert result(stopped) == result(whole.path)
        tally(
            "a file of the last checkpoint that cannot be read", 1, "named; continued from the one before, bit for bit"
        )


@pytest.mark.parametrize("pointer", ["last", "best"])
def test_an_unreadable_pointer_is_a_damaged_one(
    handgrad: Callable[..., Output], stopped: Path, new_run: NewRun, pointer: str, tally: Tally
) -> None:
    whole = new_run("whole", keep=3)
    train(whole, whole.data())
    with unreadable(stopped / pointer):
        assert handgrad("sample", stopped, "--tokens", 3).code == 0
        assert handgrad("train", "--resume", stopped).code == 0
    assert result(stopped) == result(whole.path)
    tally("last or best lost or damaged", 1, "continued from the newest checkpoint, bit for bit")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "metrics.jsonl", "data/meta.json", "data/train.npy"])
def test_every_other_unreadable_file_is_named(handgrad: Callable[..., Output], stopped: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file() and path.name != "lock"}
    with unreadable(stopped / name):
        reads = ("sample", stopped) if name == "tokenizer.json" else ("train", "--resume", stopped)
        done = handgrad(*reads)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert str(stopped / name) in done.err
    assert "Input/output error" in done.err
    assert {path: path.read_bytes() for path in before} == before


def test_texts_are_named_too(handgrad: Callable[..., Output], text_file: Path, tmp_path: Path) -> None:
    for command in ("train", "prepare"):
        with unreadable(text_file):
            done = handgrad(command, "--text", text_file, "--out", tmp_path / "out")
        assert (done.code, done.err) == (2, f"handgrad: {text_file}: Input/output error\n")
        assert sorted(tmp_path.iterdir()) == [text_file]


def test_a_lack_of_memory_or_of_open_files_is_not_the_files_fault(stopped: Path) -> None:
    error = OSError(errno.EMFILE, "Too many open files", "state.json")
    assert damaged_by(error, stopped) is error
    assert isinstance(damaged_by(OSError(errno.EACCES, "Permission denied", "state.json"), stopped), DamagedError)


def test_errors_are_named_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with unreadable(path):
        for read in (read_file, read_text):
            with pytest.raises(OSError, match="Input/output error") as caught:
                read(path)
            assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as missing, naming("another"):
        (tmp_path / "missing").read_bytes()
    assert missing.value.filename == str(tmp_path / "missing")


def test_where_all_are_unreadable_that_is_said_and_nothing_is_set_aside(stopped: Path) -> None:
    victims = [stopped / "checkpoints" / name / PARTS[0] for name in checkpoints_of(stopped)]
    before = sorted(stopped.rglob("*"))
    run = open_run(stopped)
    with unreadable(*victims), pytest.raises(InputError, match=r"no checkpoint .* model.safetensors cannot be read"):
        train(run, run.data())
    assert sorted(stopped.rglob("*")) == before


@pytest.mark.slow
def test_a_read_that_fails(
    scene: NewScene, undisturbed: Callable[[Scene], dict[str, object]], torture: bool, tally: Tally, tmp_path: Path
) -> None:
    """A run is killed, and one of the reads of its files fails when it is resumed: it continues, or names the file."""
    one = scene(steps=30)
    expected = undisturbed(one)
    half = tmp_path / "half"
    process = one.sabotage(half, "kill", 100)
    process.communicate(timeout=120)
    assert was_killed(process)
    counted = tmp_path / "counted"
    shutil.copytree(half, counted)
    printed, errors = one.sabotage(counted, "countreads", 0).communicate(timeout=120)
    assert "reads: " in printed, errors
    reads = int(printed.rpartition("reads: ")[2])

    def fail(number: int) -> bool:
        out = tmp_path / f"read-{number}"
        shutil.copytree(half, out)
        process = one.sabotage(out, "badread", number)
        printed, errors = process.communicate(timeout=120)
        assert "Traceback" not in errors, (number, errors)
        assert process.returncode in (0, 2), (number, printed, errors)
        if process.returncode:
            assert errors.count("\n") == 1, (number, errors)
            assert str(out) in errors, (number, errors)  # the file has a name
        for aside in (out / "checkpoints").glob("damaged-*"):
            shutil.rmtree(aside)
        check_goes_on(one, out, expected)
        return True

    step = 1 if torture else max(1, reads // 2)
    numbers = range(1 + random.Random(0).randrange(step), reads + 1, step)
    failed = sum(two_at_a_time(fail, numbers))
    check_nothing_is_left(counted)
    tally(
        f"a read of a run's files fails (EIO), at each of the {reads} reads of a resume",
        failed,
        "continued from what can be read, or named the file; then continued, bit for bit",
    )
