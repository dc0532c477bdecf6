"""The speedrun: its stopwatch, its rungs and records, and that a replay is the run it claims to be."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handgrad.data import Corpus, TokenData
from handgrad.experiments.speedrun import (
    TRACKS,
    Evaluated,
    Record,
    Replayed,
    Rung,
    Stopwatch,
    Track,
    check_is_the_text,
    in_minutes,
    loss_of_average,
    matching_record,
    predicted_by,
    read_rungs,
    record_as_toml,
    replay,
    rung_called,
    spread_of,
    track_called,
    trained_member,
    write_records,
)
from handgrad.experiments.speedrun import rungs as rungs_module
from handgrad.models import GPT, GPTConfig
from handgrad.runs import Metrics, Run, TrainConfig, open_run, preset
from handgrad.runs.checkpoint import Progress
from handgrad.system.errors import InputError
from handgrad.training import Reporter, evaluate, train

CORPUS = Corpus("the quick brown fox jumps over the lazy dog, and the dog sleeps on.\n" * 30, "a made-up text")
SMALL = TrainConfig(
    block_size=8, n_layer=1, n_head=2, n_embd=12, batch_size=4, shards=2, max_steps=6, warmup_steps=1,
    eval_interval=2, checkpoint_interval=3, log_interval=1,
)  # fmt: skip
RECORD = Record(
    seed=7, precision="float32", loss=1.5, seconds=2.5, evaluating=0.25, sha256="a" * 64,
    processor='a "new" one', cores=2, libraries="numpy 2", steps=(0, 2), training_seconds=(0.0, 2.5), losses=(3.0, 1.5),
)  # fmt: skip


class Clock:
    """Time that passes only if somebody says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow(Reporter):
    """Takes an hour for each event."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def started(self, *_: object) -> None:
        self.clock.now += 3600

    stepped = evaluated = started  # type: ignore[assignment]


def metrics(step: int, val_loss: float | None = None) -> Metrics:
    return Metrics(step, None, val_loss, None, None, None, 0, None, 0.0)


def test_a_stopwatch_tells_training_from_evaluations_and_from_what_is_shown() -> None:
    clock = Clock()
    watch = Stopwatch(Slow(clock), clock)
    model, data = GPT(GPTConfig(5, 4, 1, 1, 4)), None
    watch.started(model, data, Progress())  # type: ignore[arg-type]
    clock.now += 1000  # the evaluation of the initial weights
    watch.evaluated(metrics(0, 4.0), model)
    for step, (training, evaluating) in enumerate([(2.0, 0.5), (3.0, 0.75)], start=1):
        clock.now += training
        watch.stepped(metrics(step))
        clock.now += evaluating
        watch.evaluated(metrics(step, 4.0 - step), model)
    assert watch.evaluations == [
        Evaluated(0, 4.0, 0.0, 0.0),
        Evaluated(1, 3.0, 2.0, 0.5),
        Evaluated(2, 2.0, 5.0, 1.25),
    ]


def rung_of(config: TrainConfig, members: int = 1, records: tuple[Record, ...] = ()) -> Rung:
    return Rung(0, "first", "Says.", "", {}, config, members, records, Path("0-first.toml"))


def trained(the_run: Run, data: TokenData) -> Stopwatch | None:
    return trained_member(the_run, data, Reporter())


def replayed(path: Path, target: float | None, members: int = 1, config: TrainConfig = SMALL) -> Replayed:
    result = replay(Track("t", target), rung_of(config, members), config, CORPUS, path, trained)
    assert result is not None
    return result


def test_a_replay_is_an_ordinary_run(tmp_path: Path) -> None:
    """Its loss is that of the whole validation split, its hash that of the weights, its bits those of the settings."""
    result = replayed(tmp_path / "a", None)
    the_run = open_run(tmp_path / "a")
    assert the_run.config == SMALL
    model, checkpoint = the_run.model("last")
    assert checkpoint.name == "step-00000006"
    assert result.loss == evaluate(model, the_run.data().validation)
    assert result.sha256 == hashlib.sha256(model.arena.data.tobytes()).hexdigest()
    assert [each.step for each in result.evaluations] == [0, 2, 4, 6]
    assert replayed(tmp_path / "b", None).sha256 == result.sha256
    assert replayed(tmp_path / "c", None, config=replace(SMALL, seed=1)).sha256 != result.sha256


def test_the_time_is_that_of_the_first_evaluation_at_or_below_the_target(tmp_path: Path) -> None:
    losses = {each.step: each.loss for each in replayed(tmp_path / "a", None).evaluations}
    assert losses[0] > losses[2] > losses[4] > losses[6]
    for number, (target, step) in enumerate([(losses[4], 4), (losses[4] + 1e-9, 4), (losses[4] - 1e-9, 6)]):
        reached = replayed(tmp_path / f"reached-{number}", target).reached
        assert reached is not None
        assert reached.step == step
    missed = replayed(tmp_path / "missed", losses[6] - 1e-9)
    assert missed.reached is None
    assert missed.record.seconds is None
    at_once = replayed(tmp_path / "at-once", losses[0] + 1).reached  # not by the initial weights
    assert at_once is not None
    assert at_once.step == 2


def test_a_run_that_was_stopped_is_no_result(tmp_path: Path) -> None:
    def stopped(the_run: Run, data: TokenData) -> Stopwatch | None:
        return trained_member(the_run, data, Reporter(), lambda: True)

    assert replay(TRACKS[0], rung_of(SMALL), SMALL, CORPUS, tmp_path / "a", stopped) is None
    assert replay(TRACKS[0], rung_of(SMALL, 2), SMALL, CORPUS, tmp_path / "b", stopped) is None


def test_several_models_are_averaged_by_their_probabilities(tmp_path: Path) -> None:
    result = replayed(tmp_path / "a", None, members=3)
    runs = [open_run(tmp_path / "a" / f"member-{number}") for number in (1, 2, 3)]
    assert [the_run.config.seed for the_run in runs] == [1337, 2337, 3337]
    models = [the_run.model("last")[0] for the_run in runs]
    validation = runs[0].data().validation
    losses = [evaluate(model, validation) for model in models]
    assert result.evaluations[0].loss == pytest.approx(losses[0], rel=1e-6)
    assert [each.step for each in result.evaluations] == [6, 12, 18]
    assert result.loss < np.mean(losses)  # as the logarithm is concave
    probabilities = np.mean([np.exp(predicted_by(model, validation)) for model in models], axis=0)
    assert result.loss == pytest.approx(-np.log(probabilities).mean(), rel=1e-12)
    bits = b"".join(model.arena.data.tobytes() for model in models)
    assert result.sha256 == hashlib.sha256(bits).hexdigest()


def test_what_a_model_predicts_is_what_evaluation_takes_the_mean_of(tmp_path: Path) -> None:
    replayed(tmp_path / "a", None)
    the_run = open_run(tmp_path / "a")
    model, validation = the_run.model("last")[0], the_run.data().validation
    logs = predicted_by(model, validation, threads=2)
    assert logs.shape == (len(validation) - 1,)
    assert -logs.mean() == pytest.approx(evaluate(model, validation), rel=1e-6)
    assert np.array_equal(logs, predicted_by(model, validation, threads=1))


def test_the_average_of_tiny_probabilities_does_not_underflow() -> None:
    assert loss_of_average([np.array([-2000.0, -1.0]), np.array([-2000.0, -1.0])]) == pytest.approx(1000.5)
    assert loss_of_average([np.array([-2000.0]), np.array([-3000.0])]) == pytest.approx(2000 + math.log(2))


def test_a_length_in_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handgrad.experiments.budget.seconds_per_step", lambda *_: 0.5)
    config = in_minutes(replace(SMALL, max_steps=60, warmup_steps=6, eval_interval=20), 1, CORPUS)
    assert (config.max_steps, config.warmup_steps, config.eval_interval) == (120, 12, 40)


def test_a_record_is_written_and_read(tmp_path: Path) -> None:
    rungs = tmp_path / "nanogpt-cpu"
    rungs.mkdir()
    unreached = replace(RECORD, seconds=None, seed=8)
    content = 'says = "Says."\nlearn = ""\n[changes]\nlr = 1e-3\n\n'
    (rungs / "0-first.toml").write_text(content + record_as_toml(RECORD) + "\n" + record_as_toml(unreached))
    (rung,) = read_rungs(TRACKS[0], tmp_path)
    assert rung.records == (RECORD, unreached)
    assert rung.config == TrainConfig(lr=1e-3)


def test_new_records_replace_those_of_the_same_kind(tmp_path: Path) -> None:
    place = tmp_path / "nanogpt-cpu"
    place.mkdir()
    (place / "0-first.toml").write_text('# why\nsays = "Says."\nlearn = ""\n\n[changes]\nlr = 1e-3\n')
    bfloat16 = replace(RECORD, precision="bfloat16")
    another = replace(RECORD, processor="another", loss=1.25)
    for written, left in (
        ([bfloat16], [bfloat16]),
        ([RECORD, replace(RECORD, seed=8)], [RECORD, replace(RECORD, seed=8), bfloat16]),
        ([another], [another, RECORD, replace(RECORD, seed=8), bfloat16]),
        ([replace(RECORD, loss=2.0)], [replace(RECORD, loss=2.0), another, bfloat16]),
    ):
        write_records(read_rungs(TRACKS[0], tmp_path)[0], written)
        assert list(read_rungs(TRACKS[0], tmp_path)[0].records) == left
    text = (place / "0-first.toml").read_text()
    assert text.startswith('# why\nsays = "Says."\nlearn = ""\n\n[changes]\nlr = 1e-3\n\n[[record]]\n')


def test_a_rung_has_the_changes_of_those_before(tmp_path: Path) -> None:
    rungs = tmp_path / "nanogpt-cpu"
    rungs.mkdir()
    for number in range(11):
        changes = f"max_steps = {100 + number}" + ("\nbias = false" if number == 2 else "")
        (rungs / f"{number}-r{number}.toml").write_text(f'says = "S."\nlearn = ""\n[changes]\n{changes}\n')
    read = read_rungs(TRACKS[0], tmp_path)
    assert [rung.number for rung in read] == list(range(11))
    assert [rung.config.max_steps for rung in read] == list(range(100, 111))
    assert [rung.config.bias for rung in read] == [True] * 2 + [False] * 9
    assert rung_called(read, None) is read[-1]
    assert rung_called(read, "3") is rung_called(read, "r3") is read[3]
    with pytest.raises(InputError, match="no rung 'r11'; the rungs are 0 to 10"):
        rung_called(read, "r11")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("x = [", "not valid TOML"),
        ("[changes]\nlr = 1e-3", "'says' is missing"),
        ('says = ""\nlearn = ""', "'changes' is missing"),
        ('says = ""\nlearn = ""\n[changes]\nlearning = 1', "unknown field 'learning'"),
        ('says = ""\nlearn = ""\n[changes]\nlr = -1', "lr must be a finite number above 0"),
        ('say = ""\n[changes]\nlr = 1', "unknown field 'say'"),
        ('says = ""\nlearn = ""\nmembers = 0\n[changes]', "members must be an integer of at least 1"),
        ('says = ""\nlearn = ""\n[changes]\n[[record]]\nseed = 1', "'steps' is missing"),
        (
            'says = ""\nlearn = ""\n[changes]\n' + record_as_toml(replace(RECORD, sha256="12")),
            "sha256 must have 64 digits",
        ),
        (
            'says = ""\nlearn = ""\n[changes]\n' + record_as_toml(replace(RECORD, losses=(1.0,))),
            "must be equally long",
        ),
    ],
)
def test_a_damaged_rung_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "nanogpt-cpu").mkdir()
    file = tmp_path / "nanogpt-cpu" / "0-first.toml"
    file.write_text(content)
    with pytest.raises(InputError) as raised:
        read_rungs(TRACKS[0], tmp_path)
    assert str(file) in str(raised.value)
    assert sentence in str(raised.value)


def test_numbers_of_rungs_follow_one_another(tmp_path: Path) -> None:
    rungs = tmp_path / "nanogpt-cpu"
    rungs.mkdir()
    with pytest.raises(InputError, match="has no rungs"):
        read_rungs(TRACKS[0], tmp_path)
    (rungs / "1-first.toml").write_text("")
    with pytest.raises(InputError, match="must be 0"):
        read_rungs(TRACKS[0], tmp_path)
    (rungs / "first.toml").write_text("")
    with pytest.raises(InputError, match="begins with its number"):
        read_rungs(TRACKS[0], tmp_path)


def test_the_record_beside_a_run() -> None:
    others = (replace(RECORD, processor="another"), replace(RECORD, precision="bfloat16"), RECORD)
    assert matching_record(others, 7, "float32", RECORD.processor) is RECORD
    assert matching_record(others, 7, "float32", "a third") is others[0]
    assert matching_record(others, 8, "float32", "a third") is None


def test_the_spread_of_seeds() -> None:
    assert spread_of([1.0, 2.0, 4.0]) == (pytest.approx(7 / 3), 1.5, 3)
    with pytest.raises(ValueError, match="no values"):
        spread_of([])


def test_only_tiny_shakespeare_is_the_text(shakespeare: Path) -> None:
    check_is_the_text(Corpus(shakespeare.read_text(encoding="utf-8"), "the file"))
    with pytest.raises(InputError, match="a made-up text is another text"):
        check_is_the_text(CORPUS)


def test_the_preset_modern_is_the_record_to_1_4697() -> None:
    """But for the precision, which not every processor multiplies fast, and for the shards, which a record fixes."""
    record = read_rungs(track_called("nanogpt-gpu"))[-1].config
    modern = preset("modern")
    assert replace(record, precision=modern.precision, shards=modern.shards) == modern


def test_an_unknown_track_is_named() -> None:
    with pytest.raises(InputError, match="unknown track 'nanogpt'; choose from nanogpt-cpu, nanogpt-gpu"):
        track_called("nanogpt")


@pytest.mark.parametrize("track", TRACKS, ids=lambda track: track.name)
class TestLadders:
    """The files in the repository."""

    def test_every_rung_is_measured_with_three_seeds(self, track: Track) -> None:
        for rung in read_rungs(track):
            kinds = {(record.precision, record.processor) for record in rung.records}
            for kind in kinds:
                seeds = [one.seed for one in rung.records if (one.precision, one.processor) == kind]
                assert len(set(seeds)) == len(seeds) >= 3, f"{rung.file}: {kind}"
                assert seeds[0] == rung.config.seed
            assert rung.says.endswith(".")

    def test_a_record_ends_with_the_last_step(self, track: Track) -> None:
        for rung in read_rungs(track):
            for record in rung.records:
                assert record.losses[-1] == record.loss
                assert record.steps[-1] == rung.config.max_steps * rung.members
                if track.minutes is not None:
                    assert record.seconds is not None
                    assert record.seconds <= 60 * track.minutes
                if track.target is not None and record.seconds is not None:
                    first = next(i for i, loss in enumerate(record.losses) if i and loss <= track.target)
                    assert record.seconds == record.training_seconds[first]

    def test_settings_that_a_rung_names_change_something(self, track: Track) -> None:
        before: TrainConfig | None = None
        for rung in read_rungs(track):
            if before is not None:
                same = [name for name, value in rung.changes.items() if getattr(before, name) == value]
                assert not same, f"{rung.file} sets {same} to what they were"
            before = rung.config

    def test_links_lead_somewhere(self, track: Track) -> None:
        docs = Path(rungs_module.__file__).parents[4] / "docs"
        for rung in read_rungs(track):
            page, _, anchor = rung.learn.partition("#")
            assert not rung.learn or (docs / page).is_file(), rung.file
            headings = (
                [line for line in (docs / page).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
                if page
                else []
            )
            ids = {
                "".join(c for c in line.lstrip("# ").lower().replace(" ", "-") if c.isalnum() or c == "-")
                for line in headings
            }
            assert not anchor or anchor in ids, f"{rung.file}: {anchor} is not in {sorted(ids)}"


def test_the_sum_of_a_replay_is_what_train_gives(tmp_path: Path) -> None:
    """A stopwatch changes no bit of a run."""
    from handgrad.data import encode_corpus
    from handgrad.runs import create_run
    from handgrad.tokenizers import make_tokenizer

    data = encode_corpus(CORPUS, make_tokenizer("char").train(CORPUS.split()[0]))
    plain = create_run(tmp_path / "plain", SMALL, data, None, 2, None)
    train(plain, plain.data())
    bits = plain.model("last")[0].arena.data.tobytes()
    assert hashlib.sha256(bits).hexdigest() == replayed(tmp_path / "a", None).sha256
