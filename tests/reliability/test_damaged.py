"""Damaged checkpoints, pointers and metrics: the run names them and continues without them."""

import dataclasses
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_table import Tally
from scenes import check_nothing_is_broken, result
from support import TINY, Output, read_lines

from handgrad.data import write_token_files
from handgrad.models.formats.model_in_checkpoint import DamagedError, read_state, sha256_of_json
from handgrad.runs import create_run, find_checkpoint, load_intact, load_model, open_run, read_config_file, resumed
from handgrad.runs.checkpoint import read_progress
from handgrad.runs.metrics import Metrics, MetricsLog, read_metrics
from handgrad.runs.retention import checkpoints_of, read_pointer
from handgrad.system.errors import InputError
from handgrad.system.files import read_json
from handgrad.training import Reporter, train

NewRun = Callable[..., Any]
PARTS = ("model.safetensors", "optimizer.safetensors", "state.json")


class Listener(Reporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def noticed(self, sentence: str) -> None:
        self.heard.append(sentence)


def flip(path: Path, rng: random.Random) -> None:
    """Flips one random bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def zero(path: Path, rng: random.Random) -> None:
    """Fills the file with zeros, as some file systems do with data that was not flushed before a power failure."""
    path.write_bytes(bytes(path.stat().st_size))


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def exchange(path: Path, rng: random.Random) -> None:
    """Replaces the file by that of another checkpoint, which is intact in itself."""
    others = [other / path.name for other in path.parent.parent.iterdir() if other != path.parent]
    shutil.copy(rng.choice(others), path)


def link(path: Path, rng: random.Random) -> None:
    """Moves the file out of the checkpoint and links to it."""
    outside = path.parent.parent.parent / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


def pipe(path: Path, rng: random.Random) -> None:
    """Replaces the file by a pipe. Opening it would wait forever."""
    path.unlink()
    os.mkfifo(path)


DAMAGES = (flip, truncate, zero, remove, exchange, link, pipe)


@pytest.fixture
def stopped(new_run: NewRun) -> Path:
    """A run of 20 steps, stopped before the 15th. It has keep + 1 checkpoints, as the newest has not yet given a finite
    loss."""
    run = new_run(keep=3)
    left = iter(range(14))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    assert checkpoints_of(run.path) == ["step-00000014", "step-00000012", "step-00000010", "step-00000008"]
    return run.path


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    new_run: NewRun, stopped: Path, tmp_path: Path, torture: bool, tally: Tally
) -> None:
    whole = new_run("whole", keep=3)
    train(whole, whole.data())
    expected, rng, tried = result(whole.path), random.Random(0), 0
    for damage in DAMAGES:
        for part in PARTS:
            for _ in range((40 if damage in (flip, truncate) else 2) if torture else 1):
                path = tmp_path / "damaged"
                shutil.copytree(stopped, path)
                victim = path / "checkpoints" / "step-00000014" / part
                was = victim.read_bytes()
                damage(victim, rng)
                if part == "state.json" and victim.is_file() and not victim.is_symlink() and harmless(was, victim):
                    shutil.rmtree(path)
                    continue
                listener = Listener()
                run = open_run(path)
                train(run, run.data(), reporter=listener)
                assert listener.heard[0].startswith(f"{victim.parent} is damaged: "), (damage, part)
                assert part in listener.heard[0]
                assert listener.heard[1] == "using step-00000012 instead"
                assert result(path) == expected
                assert (path / "checkpoints" / "damaged-step-00000014").is_dir()
                shutil.rmtree(path)
                tried += 1
    tally(
        "a file of the last checkpoint with a bit flipped, cut, zeroed, removed, exchanged, a link, a pipe",
        tried,
        "named; continued from the one before, bit for bit",
    )


def harmless(was: bytes, now: Path) -> bool:
    """Whether only the layout of the JSON has changed."""
    try:
        return bool(json.loads(was) == json.loads(now.read_bytes()))
    except ValueError:
        return False


def test_the_best_and_named_checkpoints_too(handgrad: Callable[..., Output], stopped: Path) -> None:
    assert read_pointer(stopped, "best") == "step-00000010"
    remove(find_checkpoint(stopped, "best") / "model.safetensors", random.Random())
    done = handgrad("sample", stopped, "--tokens", 3)
    assert done.code == 0
    assert "step-00000010 is damaged: it has no model.safetensors" in done.err
    assert "using step-00000008 instead" in done.err
    shutil.rmtree(stopped / "checkpoints" / "step-00000008")
    assert "using step-00000012 instead" in handgrad("sample", stopped, "--tokens", 3).err  # no earlier one is left
    named = handgrad("eval", stopped, "--checkpoint", "step-00000010")
    assert (named.code, "is damaged" in named.err) == (2, True)
    assert handgrad("sample", stopped, "--tokens", 3, "--checkpoint", "../../run").code == 2


def test_where_all_are_damaged_that_is_said(stopped: Path) -> None:
    for name in checkpoints_of(stopped):
        flip(stopped / "checkpoints" / name / "model.safetensors", random.Random(name))
    before = sorted(stopped.rglob("*"))
    run = open_run(stopped)
    with pytest.raises(InputError, match=r"no checkpoint of .* is intact: .*step-00000014 is damaged: model"):
        train(run, run.data())
    assert sorted(stopped.rglob("*")) == before


def test_where_all_are_lost_the_run_does_not_quietly_begin_anew(stopped: Path) -> None:
    shutil.rmtree(stopped / "checkpoints")
    run = open_run(stopped)
    metrics = run.metrics_path.read_bytes()
    with pytest.raises(InputError, match="has metrics but no checkpoint"):
        train(run, run.data())
    assert run.metrics_path.read_bytes() == metrics


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe", b"../../elsewhere\n", b"step-00000099\n", b"x" * 100_000, b"step-00000014\n\n"]
)
@pytest.mark.parametrize("pointer", ["last", "best"])
def test_damaged_pointers(stopped: Path, new_run: NewRun, tally: Tally, pointer: str, content: bytes | None) -> None:
    whole = new_run("whole", keep=3)
    train(whole, whole.data())
    (stopped / pointer).unlink()
    if content is not None:
        (stopped / pointer).write_bytes(content)
    assert find_checkpoint(stopped, pointer).name == "step-00000014"
    run = open_run(stopped)
    train(run, run.data())
    assert result(stopped) == result(whole.path)
    tally("last or best lost or damaged", 1, "continued from the newest checkpoint, bit for bit")


def test_a_checkpoint_can_be_gone_back_to(stopped: Path, new_run: NewRun) -> None:
    """Write its name into ``last``: the run repeats the later steps and saves them under new names."""
    whole = new_run("whole", keep=3)
    train(whole, whole.data())
    (stopped / "last").write_text("step-00000010\n")
    run = open_run(stopped)
    train(run, run.data())
    assert read_pointer(stopped, "last") == "step-00000020"
    assert result(stopped) == result(whole.path)
    check_nothing_is_broken(stopped)


@pytest.mark.slow
def test_best_is_mended_by_the_step_that_is_known(stopped: Path, handgrad: Callable[..., Output]) -> None:
    """The best checkpoint must not be removed because the file ``best`` was damaged."""
    run = open_run(stopped)
    worse = resumed(run, run.config.updated({"lr": 3.0, "min_lr": 3.0, "schedule": "constant", "keep": 1}, "test"))
    (stopped / "best").write_text("garbage\n")
    train(worse, run.data())
    assert read_pointer(stopped, "best") == "step-00000010"
    assert "step-00000010" in checkpoints_of(stopped)
    done = handgrad("train", "--resume", stopped)
    assert "best checkpoint step-00000010, validation loss" in done.out
    flip(stopped / "checkpoints" / "step-00000010" / PARTS[0], random.Random(0))
    done = handgrad("train", "--resume", stopped)
    assert "step-00000010 is damaged: model.safetensors" in done.err
    assert f"the best checkpoint of {stopped}, from step 10, is missing" in done.err
    assert "\ncheckpoint step-00000020; it writes:" in done.out
    assert "validation loss 3" not in done.out.partition("it writes")[0].rpartition("\n\n")[2]


def test_every_damaged_checkpoint_on_the_way_is_set_aside(stopped: Path) -> None:
    for name in ("step-00000014", "step-00000012"):
        flip(stopped / "checkpoints" / name / PARTS[1], random.Random(name))
    (stopped / "checkpoints" / "damaged-step-00000014").mkdir()
    run = open_run(stopped)
    assert train(run, run.data()).finished
    aside = {path.name for path in (stopped / "checkpoints").glob("damaged-*")}
    assert aside == {"damaged-step-00000014", "damaged-step-00000014-1", "damaged-step-00000012"}


def test_a_checkpoint_that_is_a_link_is_none(stopped: Path, tmp_path: Path) -> None:
    inside = stopped / "checkpoints" / "step-00000014"
    inside.rename(tmp_path / "outside")
    inside.symlink_to(tmp_path / "outside")
    with pytest.raises(DamagedError, match="it is a link, not a directory of this run"):
        read_state(inside)


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX systems")
@pytest.mark.parametrize(
    "name",
    ["last", "best", "metrics.jsonl", "config.json", "tokenizer.json", "data/meta.json", "data/train.npy", "lock"],
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    stopped: Path, handgrad: Callable[..., Output], name: str
) -> None:
    (stopped / name).unlink()
    os.mkfifo(stopped / name)
    done = handgrad(*(("eval", stopped) if name == "tokenizer.json" else ("train", "--resume", stopped)))
    if name in ("last", "best"):
        assert (done.code, (stopped / name).is_file()) == (0, True)  # mended
    else:
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert name.rpartition("/")[2] in done.err
        handgrad("eval", stopped)


def test_a_link_in_the_place_of_the_lock_is_not_written_through(stopped: Path, handgrad: Callable[..., Output]) -> None:
    precious = stopped.parent / "precious.txt"
    precious.write_text("words")
    (stopped / "lock").unlink()
    (stopped / "lock").symlink_to(precious)
    done = handgrad("train", "--resume", stopped)
    assert (done.code, "lock is not a regular file; remove it" in done.err) == (2, True)
    assert precious.read_text() == "words"


@pytest.mark.slow
def test_readers_are_not_disturbed_by_what_is_replaced_meanwhile(new_run: NewRun) -> None:
    """As handgrad sample does while handgrad train writes a checkpoint at each step and keeps one."""
    run = new_run(keep=1, checkpoint_interval=1, eval_interval=1, max_steps=150, n_layer=1)
    heard: list[str] = []
    writer = threading.Thread(target=train, args=(run, run.data()))
    writer.start()
    reads = 0
    while writer.is_alive():
        if checkpoints_of(run.path):
            for wanted in ("last", "best"):
                run.model(wanted, heard.append)
                reads += 1
    writer.join()
    assert reads > 20
    assert heard == []


def test_token_files_in_the_runs_own_directory_are_refused(new_run: NewRun, tmp_path: Path) -> None:
    """They would collide with the run's own files and look like a half-made run."""
    data = new_run().data()
    directory = tmp_path / "place" / "data"
    write_token_files(directory, data)
    (tmp_path / "place" / "lock").touch()
    with pytest.raises(InputError, match="exists and is not an empty directory"):
        create_run(tmp_path / "place", TINY, data, directory, 2, None)
    shutil.rmtree(tmp_path / "place")
    with pytest.raises(InputError, match="cannot be inside the run's own directory"):
        create_run(tmp_path / "place", TINY, data, directory, 2, None)


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(20 << 30)  # a sparse file: it takes no space
    limits = {read_json: "67,108,864", read_config_file: "1,048,576", read_metrics: "1,073,741,824"}
    for read, limit in limits.items():
        with pytest.raises(InputError, match=f"has 21,474,836,480 bytes; it can have {limit} at most"):
            read(path)


def test_old_and_foreign_state(stopped: Path) -> None:
    path = find_checkpoint(stopped) / "state.json"
    state = path.read_text()
    path.write_text('{"version": 1, "progress": {}}')
    with pytest.raises(InputError, match="has version 1, which has no hashes; only version 2 is supported"):
        read_state(path.parent)
    content = json.loads(state)
    content.pop("sha256")
    content["version"] = 3
    content["sha256"] = sha256_of_json(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="has version 3; only version 2 is supported") as caught:
        read_state(path.parent)
    assert not isinstance(caught.value, DamagedError)  # it is intact and must not be set aside
    path.write_text("[]")
    with pytest.raises(DamagedError, match="must hold a JSON object"):
        read_progress(path.parent)


def test_a_model_that_does_not_fit_the_file_is_refused_before_it_is_made(stopped: Path) -> None:
    """The shape in a damaged config.json may be huge."""
    content = json.loads((stopped / "config.json").read_text())
    for part in ("config", "model"):
        content[part]["n_layer"] = 10**9
    (stopped / "config.json").write_text(json.dumps(content))
    run = open_run(stopped)
    with pytest.raises(InputError, match=r"model.safetensors has .* bytes; the model that the run's config.json"):
        train(run, run.data())
    with pytest.raises(InputError, match="does not fit its model"):
        load_intact(stopped, "best", lambda path: load_model(path, run.model_config))


def test_metrics_cut_anywhere(stopped: Path, new_run: NewRun, tmp_path: Path, torture: bool, tally: Tally) -> None:
    """The last checkpoint is from step 14; the process was killed while it wrote the lines after it."""
    whole = new_run("whole", keep=3)
    train(whole, whole.data())
    content = (stopped / "metrics.jsonl").read_bytes()
    extra = json.dumps({**read_lines(stopped / "metrics.jsonl")[-1], "step": 15}).encode() + b"\n"
    places = range(len(extra) + 1)
    for place in places if torture else places[::40]:
        path = tmp_path / "cut"
        shutil.copytree(stopped, path)
        (path / "metrics.jsonl").write_bytes(content + extra[:place])
        listener, run = Listener(), open_run(path)
        train(run, run.data(), reporter=listener)
        assert listener.heard == []
        assert result(path) == result(whole.path)
        shutil.rmtree(path)
        tally("metrics.jsonl cut within its last line", 1, "repaired; no line doubled, none missing")


def test_metrics_damaged_elsewhere_are_kept_beside_the_mended_ones(stopped: Path) -> None:
    path = stopped / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:2], b'{"step": NaN}\n', *lines[3:5], lines[1], *lines[5:]])
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"metrics.jsonl: line 3 is damaged, and 1 more"):
        read_metrics(path)
    listener, run = Listener(), open_run(stopped)
    train(run, run.data(), reporter=listener)
    assert "line 3 is damaged, and 1 more; the damaged file is kept as damaged-metrics.jsonl" in listener.heard[0]
    assert f"has {len(lines) - 1} lines up to step 14 instead of {len(lines)}" in listener.heard[1]
    assert (stopped / "damaged-metrics.jsonl").read_bytes() == damaged
    steps = [row["step"] for row in read_metrics(path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 20


def test_lost_metrics_do_not_keep_a_run_from_going_on(stopped: Path) -> None:
    (stopped / "metrics.jsonl").unlink()
    listener, run = Listener(), open_run(stopped)
    assert train(run, run.data(), reporter=listener).finished
    assert "has 0 lines up to step 14 instead of 9" in listener.heard[0]
    assert [row["step"] for row in read_metrics(run.metrics_path)] == [15, 16, 18, 20]


def test_a_line_for_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    """Else later metrics would be lost, and nobody would notice before the next checkpoint."""
    path, row = tmp_path / "metrics.jsonl", Metrics(0, None, 1.5, None, None, None, 0, None, 0.0)
    log = MetricsLog(path)
    log.append(row)
    path.unlink()
    for content in (None, b"another's\n"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FileNotFoundError, match="removed or replaced during training"):
            log.append(dataclasses.replace(row, step=1))
        with pytest.raises(FileNotFoundError):
            log.flush()
    log.close()
    assert path.read_bytes() == b"another's\n"


def test_lines_without_the_newer_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.append(Metrics(0, None, 1.5, None, None, None, 0, None, 0.0))
    log.close()
    old = {name: value for name, value in read_lines(path)[0].items() if name not in ("skipped", "spike")}
    path.write_text(json.dumps(old) + "\n")
    assert read_metrics(path)[0]["skipped"] == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are Linux's")
def test_everything_is_on_the_disk_before_it_has_its_name(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks the order of flushes and renames, which matters in a power failure but not after a kill."""
    run, events = new_run(), []
    fsync, renames = os.fsync, {"rename": os.rename, "replace": os.replace}

    def synced(descriptor: int) -> None:
        events.append(("flushed", str(Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(run.path))))
        fsync(descriptor)

    def renaming(name: str) -> Callable[[Path, Path], None]:
        def rename(source: Path, target: Path) -> None:
            events.append(("named", str(Path(target).relative_to(run.path))))
            renames[name](source, target)

        return rename

    monkeypatch.setattr(os, "fsync", synced)
    for name in renames:
        monkeypatch.setattr(os, name, renaming(name))
    left = iter(range(4))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    temporary = f"checkpoints/.step-00000004.{os.getpid()}.tmp"
    first = events.index(("flushed", f"{temporary}/{PARTS[0]}"))
    assert events[first - 1 : first + 8] == [
        ("flushed", "metrics.jsonl"),
        *[("flushed", f"{temporary}/{part}") for part in PARTS],
        ("flushed", temporary),
        ("named", "checkpoints/step-00000004"),
        ("flushed", "checkpoints"),
        ("flushed", f".last.{os.getpid()}.tmp"),
        ("named", "last"),
    ]
    assert events[first + 8] == ("flushed", ".")


def test_keep_is_how_many_stay(new_run: NewRun) -> None:
    for keep in (1, 2, 4):
        run = new_run(f"keep-{keep}", keep=keep)
        train(run, run.data())
        stay = ["step-00000020", "step-00000016", "step-00000015", "step-00000012"][:keep]
        best = read_pointer(run.path, "best")
        assert set(checkpoints_of(run.path)) == {*stay, best}


def test_leftovers_of_a_killed_process_are_removed(stopped: Path) -> None:
    (stopped / "checkpoints" / ".step-00000018.99.tmp").mkdir()
    (stopped / "checkpoints" / ".step-00000018.99.tmp" / "model.safetensors").write_bytes(b"half")
    (stopped / ".last.99.tmp").write_bytes(b"st")
    run = open_run(stopped)
    train(run, run.data())
    assert not [path for path in stopped.rglob("*") if path.name.startswith(".")]
