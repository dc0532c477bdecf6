"""Links inside a run, and a user's own files in its place: nothing of theirs is deleted, appended to or emptied."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_table import Tally
from scenes import result
from support import SMALLEST, Output, as_flags

from handgrad.runs import open_run, resumed
from handgrad.runs.metrics import MetricsLog
from handgrad.runs.tensorboard import EventFiles
from handgrad.system.errors import InputError
from handgrad.training import train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
NewRun = Callable[..., Any]
REFUSED = "refused in one sentence; nothing behind the link is changed; put back, it continued, bit for bit"


def stopped_after(run: Any, steps: int) -> Path:
    left = iter(range(steps))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    path: Path = run.path
    return path


def contents(root: Path) -> dict[str, bytes]:
    if root.is_file():
        return {"": root.read_bytes()}
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["checkpoints", "data", "tensorboard", "metrics.jsonl"])
@pytest.mark.parametrize("settings", [[], ["--max-steps", "21", "--keep", "1"]], ids=["as it is", "changed"])
def test_a_link_in_a_run_is_refused(
    name: str, settings: list[str], new_run: NewRun, handgrad: Callable[..., Output], tmp_path: Path, tally: Tally
) -> None:
    whole = new_run("whole", keep=1)
    train(whole, whole.data())
    path = stopped_after(new_run("run", keep=1), 14)
    outside = tmp_path / "outside"
    if name == "tensorboard":
        (path / name).mkdir()
        (path / name / "events.out.tfevents.1").write_bytes(b"mine")
    if (path / name).is_dir():
        (path / name / ".notes.1.tmp").write_bytes(b"looks like a leftover")
    (path / name).rename(outside)
    (path / name).symlink_to(outside)
    before, config = contents(outside), (path / "config.json").read_bytes()
    done = handgrad("train", "--resume", path, *settings)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert f"{path / name} is a link; put what it leads to in its place" in done.err
    assert contents(outside) == before
    assert (path / "config.json").read_bytes() == config
    (path / name).unlink()
    outside.rename(path / name)
    run = open_run(path)
    assert train(run, run.data()).finished
    assert result(path) == result(whole.path)
    tally("a part of a run replaced by a link to elsewhere", 1, REFUSED)


def test_reading_through_a_link_is_allowed(new_run: NewRun, handgrad: Callable[..., Output], tmp_path: Path) -> None:
    path = stopped_after(new_run(), 5)
    (path / "checkpoints").rename(tmp_path / "outside")
    (path / "checkpoints").symlink_to(tmp_path / "outside")
    assert handgrad("sample", path, "--tokens", 3).code == 0
    assert handgrad("eval", path).code == 0


def test_the_run_itself_may_be_a_link(new_run: NewRun, tmp_path: Path) -> None:
    path = stopped_after(new_run(), 5)
    (tmp_path / "latest").symlink_to(path)
    run = open_run(tmp_path / "latest")
    assert train(run, run.data()).finished


def test_each_writer_refuses_by_itself(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "events.out.tfevents.1").write_bytes(b"mine")
    (precious / "log").write_bytes(b"mine\n")
    (tmp_path / "tensorboard").symlink_to(precious)
    (tmp_path / "metrics.jsonl").symlink_to(precious / "log")
    with pytest.raises(InputError, match=r"metrics.jsonl is a link"):
        MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(InputError, match="tensorboard is a link"):
        EventFiles(tmp_path / "tensorboard", [], print)
    assert contents(precious) == {"events.out.tfevents.1": b"mine", "log": b"mine\n"}


def test_checkpoints_swapped_for_a_link_while_it_trains(new_run: NewRun, tmp_path: Path) -> None:
    run, outside = new_run(keep=1), tmp_path / "outside"
    left = iter(range(20))

    def swap() -> bool:
        if next(left) == 9:
            (run.path / "checkpoints").rename(outside)
            (run.path / "checkpoints").symlink_to(outside)
        return False

    with pytest.raises(InputError, match="checkpoints is a link"):
        train(run, run.data(), should_stop=swap)
    assert sorted(path.name for path in outside.iterdir())[-1] == "step-00000008"


@pytest.mark.parametrize("content", [b"combination: 12-34-56\n", b"[1, 2]", b'{"pid": "x"}', b"\xff\x00"])
def test_a_users_own_file_called_lock_is_not_emptied(
    content: bytes, handgrad: Callable[..., Output], text_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "lock").write_bytes(content)
    for command in ("train", "compare"):
        done = handgrad(command, "--text", text_file, "--out", out)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"{out} exists and is not an empty directory" in done.err
        assert contents(out) == {"lock": content}


@pytest.mark.parametrize("content", [b"", b'{"pid": 1, "host": "here", "since": "2020-01-01 00:00:00"}\n'])
def test_a_lock_that_a_killed_process_left_is_taken_over(
    content: bytes, handgrad: Callable[..., Output], text_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "lock").write_bytes(content)
    small = [*SMALLEST, *as_flags(max_steps=2)]
    assert handgrad("train", "--text", text_file, "--out", out, *small).code == 0


def test_a_link_in_a_comparison_is_refused(handgrad: Callable[..., Output], text_file: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    small = [*SMALLEST, *as_flags(max_steps=2, warmup_steps=0, tokenizers="char")]
    assert handgrad("compare", "--text", text_file, "--out", out, *small).code == 0
    for part in ("runs", "runs/char"):
        (out / part).rename(elsewhere)
        (out / part).symlink_to(elsewhere)
        (out / "results.json").unlink(missing_ok=True)
        before = contents(elsewhere)
        done = handgrad("compare", "--resume", out)
        assert (done.code, f"{out / part} is a link" in done.err) == (2, True), done.err
        assert contents(elsewhere) == before
        (out / part).unlink()
        elsewhere.rename(out / part)


def test_what_a_link_led_to_can_be_named_as_data(new_run: NewRun, tmp_path: Path) -> None:
    path = stopped_after(new_run(), 5)
    shutil.move(path / "data", tmp_path / "tokens")
    run = resumed(open_run(path).with_data_at(tmp_path / "tokens"))
    assert train(open_run(path), run.data()).finished
