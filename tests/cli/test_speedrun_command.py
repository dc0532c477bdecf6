"""handgrad speedrun as a user calls it: what it prints, what it leaves, and bad input."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Output

from handgrad.experiments.speedrun import read_rungs, record_as_toml, rungs, track_called
from handgrad.runs import open_run
from handgrad.system.backend_setting import use_backend
from handgrad.system.processor import processor_name
from handgrad.training import DivergedError

Handgrad = Callable[..., Output]
CHANGES = """
block_size = 16
n_layer = 1
n_head = 2
n_embd = 8
batch_size = 4
shards = 2
warmup_steps = 1
max_steps = 4
eval_interval = 2
checkpoint_interval = 4
eval_batches = 3
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HANDGRAD_BACKEND", "numpy")
    use_backend("numpy")
    yield
    use_backend(None)


@pytest.fixture
def ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two rungs of each of two tracks."""
    for track in ("nanogpt-cpu", "lowest"):
        place = tmp_path / "rungs" / track
        place.mkdir(parents=True)
        (place / "0-first.toml").write_text(f'says = "It begins."\nlearn = ""\n[changes]\n{CHANGES}')
        (place / "1-second.toml").write_text('says = "It learns faster."\nlearn = ""\n[changes]\nlr = 1e-2\n')
    monkeypatch.setattr(rungs, "DIRECTORY", tmp_path / "rungs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "rungs"


def test_a_rung_is_trained_by_its_settings(handgrad: Handgrad, ladder: Path, shakespeare: Path) -> None:
    done = handgrad("speedrun", "nanogpt-cpu", "--rung", "0", "--text", shakespeare)
    assert done.code == 0
    assert "nanogpt-cpu, rung 0, first: It begins." in done.out
    assert re.search(r"seed 1337, float32: \d\.\d{4} nats per character at the end", done.out)
    assert re.search(r"1.886 was not reached in [\d.]+ s of training", done.out)
    assert processor_name() in done.out
    assert re.search(r"no record has seed 1337 in float32; the final weights have SHA-256 [0-9a-f]{64}", done.out)
    config = open_run(Path("runs/nanogpt-cpu-1")).config
    assert (config.max_steps, config.lr, config.seed) == (4, 2e-3, 1337)


def test_the_record_is_the_last_rung_and_its_hash_is_compared(
    handgrad: Handgrad, ladder: Path, shakespeare: Path
) -> None:
    flags = ("speedrun", "lowest", "--text", shakespeare)
    first = handgrad(*flags)
    assert "lowest, rung 1, second: It learns faster." in first.out
    assert re.search(r"trained in [\d.]+ s, at step 4; evaluations took another [\d.]+ s", first.out)
    assert open_run(Path("runs/lowest-1")).config.lr == 1e-2
    found = re.search(r"SHA-256 ([0-9a-f]{64})", first.out)
    assert found is not None
    libraries = re.search(r"cores?: (handgrad .*)", first.out.replace("\n ", " "))
    assert libraries is not None
    file = ladder / "lowest" / "1-second.toml"
    record = read_record(found[1], libraries[1])
    file.write_text(file.read_text() + record_as_toml(record))
    assert "the final weights are those of the record, bit for bit" in handgrad(*flags).out
    file.write_text(file.read_text().replace(found[1], "0" * 64))
    assert "though processor and libraries are the same" in handgrad(*flags).out.replace("\n", " ")
    file.write_text(file.read_text().replace(processor_name(), "Another 9000"))
    differs = handgrad(*flags).out.replace("\n", " ")
    assert (
        f"the final weights differ from the record's: it was made on Another 9000, here {processor_name()}" in differs
    )
    assert "record, 1 seed on Another 9000: 3.0000 ± 0.0000 nats per character, 1.0 ± 0.0 s" in differs


def read_record(sha256: str, libraries: str):  # type: ignore[no-untyped-def]
    from handgrad.experiments.speedrun import Record

    return Record(
        seed=1337, precision="float32", loss=3.0, seconds=1.0, evaluating=0.1, sha256=sha256,
        processor=processor_name(), cores=2, libraries=libraries, steps=(0, 4), training_seconds=(0.0, 1.0),
        losses=(4.0, 3.0),
    )  # fmt: skip


def test_several_seeds_have_a_mean(handgrad: Handgrad, ladder: Path, shakespeare: Path) -> None:
    done = handgrad("speedrun", "lowest", "--text", shakespeare, "--seeds", "2", "--seed", "5", "--out", "here")
    assert done.code == 0
    assert [open_run(Path(f"here/seed-{seed}")).config.seed for seed in (5, 6)] == [5, 6]
    losses = [float(loss) for loss in re.findall(r"seed \d, float32: (\d\.\d{4})", done.out)]
    assert len(losses) == 2
    mean, half = re.findall(
        r"mean of 2 seeds: (\d\.\d{4}) ± (\d\.\d{4}) nats per character, [\d.]+ ± [\d.]+ s", done.out
    )[0]
    assert float(mean) == pytest.approx(sum(losses) / 2, abs=2e-4)
    assert float(half) == pytest.approx(abs(losses[0] - losses[1]) / 2, abs=2e-4)


def test_several_models_of_a_rung_are_averaged(handgrad: Handgrad, ladder: Path, shakespeare: Path) -> None:
    file = ladder / "lowest" / "1-second.toml"
    file.write_text("members = 2\n" + file.read_text())
    done = handgrad("speedrun", "lowest", "--text", shakespeare, "--seed", "5")
    assert "at step 8;" in done.out
    assert [open_run(Path(f"runs/lowest-1/member-{number}")).config.seed for number in (1, 2)] == [5, 1005]


def test_a_length_in_minutes(
    handgrad: Handgrad, ladder: Path, shakespeare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handgrad.experiments.budget.seconds_per_step", lambda *_: 1.0)
    done = handgrad("speedrun", "lowest", "--text", shakespeare, "--minutes", "0.1")
    assert "0.1 minutes: 6 steps on this machine" in done.out
    assert open_run(Path("runs/lowest-1")).config.max_steps == 6
    assert "record" not in done.out  # it is another run
    refused = handgrad("speedrun", "nanogpt-cpu", "--minutes", "1")
    assert refused.code == 2
    assert "--minutes is for a track without a loss to reach; nanogpt-cpu trains to 1.886" in refused.err


def test_the_ladder_is_shown_without_training(handgrad: Handgrad, ladder: Path) -> None:
    done = handgrad("speedrun", "lowest", "--rungs")
    assert done.code == 0
    assert "It begins." in done.out
    assert "It learns faster." in done.out
    assert done.out.count("not measured") == 2
    assert not Path("runs").exists()


def test_bfloat16_becomes_float32_if_it_is_slow(
    handgrad: Handgrad, ladder: Path, shakespeare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ladder / "lowest" / "1-second.toml"
    file.write_text(file.read_text() + 'precision = "bfloat16"\n')
    done = handgrad("speedrun", "lowest", "--text", shakespeare)
    assert "float32 in place of bfloat16: " in done.err
    assert open_run(Path("runs/lowest-1")).config.precision == "float32"
    asked = handgrad("speedrun", "lowest", "--text", shakespeare, "--precision", "bfloat16")
    assert "is slower than float32 here" in asked.err
    assert open_run(Path("runs/lowest-2")).config.precision == "bfloat16"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["nanogpt"], "unknown track 'nanogpt'; choose from nanogpt-cpu, nanogpt-gpu, five-minutes, lowest"),
        (["lowest", "--rung", "9"], "there is no rung '9'; the rungs are 0 to 1, by number or name"),
        (["lowest", "--seeds", "0"], "--seeds must be 1 to 100, not 0"),
        (["lowest", "--seed", "-1"], "seed must be at least 0, not -1"),
        (["lowest", "--minutes", "0"], "--minutes must be above 0"),
    ],
)
def test_bad_input(handgrad: Handgrad, ladder: Path, flags: list[str], sentence: str) -> None:
    done = handgrad("speedrun", *flags)
    assert done.code == 2
    assert sentence in done.err
    assert not Path("runs").exists()


def test_another_text_is_refused(handgrad: Handgrad, ladder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("To be or not to be. " * 100)
    done = handgrad("speedrun", "lowest", "--text", tmp_path / "text.txt")
    assert done.code == 2
    assert "the speedrun is about tiny Shakespeare" in done.err
    assert not Path("runs").exists()


def test_a_run_that_diverges_fails(
    handgrad: Handgrad, ladder: Path, shakespeare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("training diverged at step 3")

    monkeypatch.setattr("handgrad.experiments.speedrun.replaying.train", diverge)
    done = handgrad("speedrun", "lowest", "--text", shakespeare)
    assert done.code == 1
    assert "training diverged at step 3" in done.out


def test_ctrl_c_ends_it_without_a_result(
    handgrad: Handgrad, ladder: Path, shakespeare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped:
        finished = False

    monkeypatch.setattr("handgrad.experiments.speedrun.replaying.train", lambda *_, **__: Stopped())
    done = handgrad("speedrun", "lowest", "--text", shakespeare)
    assert done.code == 130
    assert "a speedrun counts in one sitting" in done.out


def test_the_ladders_of_the_repository_are_shown(handgrad: Handgrad) -> None:
    done = handgrad("speedrun", "nanogpt-cpu", "--rungs")
    assert done.code == 0
    for rung in read_rungs(track_called("nanogpt-cpu")):
        assert rung.name in done.out
        assert rung.says.split()[0] in done.out
