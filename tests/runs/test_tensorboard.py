"""TensorBoard event files: they hold the metrics, and a resume doubles nothing in them."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support import read_lines

from handgrad.runs import Metrics, Run, open_run, resumed, tensorboard
from handgrad.runs.tensorboard import EventFiles
from handgrad.system.errors import InputError
from handgrad.training import Reporter, train

NewRun = Callable[..., Run]


def scalars(directory: Path) -> dict[tuple[str, int], float]:
    """What TensorBoard shows of the one file there. A START event hides everything before it."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown: dict[tuple[str, int], float] = {}
    for path in directory.iterdir():
        content, place = path.read_bytes(), 0
        while place < len(content):
            # A record is the event's length, a checksum of it, the event, and a checksum of that.
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            if event.session_log.status == SessionLog.START:
                shown = {key: value for key, value in shown.items() if key[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in shown
                shown[value.tag, event.step] = value.simple_value
    return shown


def expected(run: Run) -> dict[tuple[str, int], float]:
    names = {"loss": "loss/training", "val_loss": "loss/validation"}
    return {
        (names.get(name, name), row["step"]): pytest.approx(float(value), rel=1e-6)
        for row in read_lines(run.metrics_path)
        for name, value in row.items()
        if name != "step" and value is not None
    }


@pytest.mark.slow
def test_event_files_hold_the_metrics_also_after_a_crash(new_run: NewRun) -> None:
    pytest.importorskip("tensorboardX")
    run = new_run(tensorboard=True)

    class CrashError(Exception):
        pass

    class Crash(Reporter):
        def stepped(self, metrics: Metrics) -> None:
            if metrics.step == 15:
                raise CrashError

    with pytest.raises(CrashError):
        train(run, run.data(), reporter=Crash())
    train(open_run(run.path), run.data())
    assert len(list((run.path / "tensorboard").iterdir())) == 1
    assert scalars(run.path / "tensorboard") == expected(run)


def test_nothing_of_it_where_it_is_not_asked_for(new_run: NewRun) -> None:
    run = new_run()
    train(run, run.data())
    assert not (run.path / "tensorboard").exists()


def test_asked_for_later_they_hold_what_was_before(new_run: NewRun) -> None:
    pytest.importorskip("tensorboardX")
    run = new_run()
    left = iter(range(7))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    run = resumed(run, run.config.updated({"tensorboard": True}, "test"))
    train(run, run.data())
    assert scalars(run.path / "tensorboard") == expected(run)


def test_a_run_goes_on_without_where_they_cannot_be_written(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    writer = pytest.importorskip("tensorboardX.event_file_writer").EventsWriter
    run, write, written = new_run(tensorboard=True), writer.write_event, []

    def failing(self: object, event: object) -> None:
        written.append(event)
        if len(written) > 20:
            raise OSError(28, "No space left on device")
        write(self, event)

    monkeypatch.setattr(writer, "write_event", failing)
    heard: list[str] = []
    reporter = Reporter()
    reporter.noticed = heard.append  # type: ignore[method-assign]
    assert train(run, run.data(), reporter=reporter).finished
    said = f"training continues without TensorBoard: {run.path / 'tensorboard'}: No space left on device"
    assert heard == [said]
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "tensorboard").touch()
    EventFiles(tmp_path / "blocked" / "tensorboard", [], heard.append).close()
    assert "File exists" in heard[1]


def test_without_the_library_that_is_said_before_anything_is_written(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = new_run()
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    said = "needs tensorboardX, which is not installed: pip install tensorboardX"
    with pytest.raises(InputError, match=said):
        new_run("other", tensorboard=True)
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match=said):
        resumed(run, run.config.updated({"tensorboard": True}, "test"))
    with pytest.raises(InputError, match=said):
        train(dataclasses.replace(run, config=run.config.updated({"tensorboard": True}, "test")), run.data())
    assert read_lines(run.metrics_path) == []
