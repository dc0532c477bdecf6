"""The pace of a run, by a clock that the test sets, and what the loop does beside what is predicted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TEXT, TINY

from handgrad.data import Choices, Corpus, TokenData, encode_corpus, prepare_in_memory
from handgrad.runs import Pace, Run, seconds_of
from handgrad.system.backend_setting import use_backend
from handgrad.tokenizers import CharTokenizer
from handgrad.training import Reporter, evaluate, loop, measure_pace, pace, seconds_per_step, train
from handgrad.training.evaluation import n_batches
from handgrad.training.replicas import Replicas


class Clock:
    """Moves only when work is done: each kind of work takes the seconds that are set for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.now, self.seconds, self.done = 1000.0, seconds, dict.fromkeys(seconds, 0)
        for kind, place, name in (
            ("step", Replicas, "update"),
            ("evaluation", pace, "evaluate"),
            ("checkpoint", pace, "write_checkpoint"),
        ):
            if kind in seconds:
                self._watch(monkeypatch, kind, place, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, kind: str, place: Any, name: str) -> None:
        real = getattr(place, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            self.done[kind] += 1
            # An evaluation takes its seconds for each batch.
            self.now += self.seconds[kind] * (arguments[3] if kind == "evaluation" else 1)
            return real(*arguments, **options)

        monkeypatch.setattr(place, name, timed)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def numpy_alone() -> Iterator[None]:
    """Nothing is compiled first, which is a step of its own."""
    use_backend("numpy")
    yield
    use_backend(None)


@pytest.fixture
def data() -> TokenData:
    corpus = Corpus(TEXT, "test text")
    return encode_corpus(corpus, CharTokenizer().train(corpus.split()[0]))


@pytest.mark.parametrize(
    ("step", "length", "steps"),
    [
        (0.125, 0.0, 2 + 8),  # for a second
        (0.125, 100.0, 2 + 40),  # for a twentieth of the length
        (0.5, 3600.0, 2 + 20),  # for ten seconds
        (4.0, 0.0, 2 + 5),  # for five steps at least
        (4.0, 10.0, 3),  # but not for longer than the run
        (40.0, 10.0, 1),
    ],
)
def test_steps_are_timed_for_a_while(
    step: float, length: float, steps: int, data: TokenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, step=step)
    assert seconds_per_step(TINY, data, 2, length, clock) == pytest.approx(step)
    assert clock.done["step"] == steps


def test_the_first_steps_do_not_count_and_all_others_do(data: TokenData, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, step=0.0)
    times = iter([9.0, 5.0, 0.25, 0.25, 0.75, 0.25, 0.5])
    clock.seconds = type("Times", (), {"__getitem__": lambda self, kind: next(times)})()  # type: ignore[assignment]
    assert seconds_per_step(TINY, data, 1, 0.0, clock) == pytest.approx(2.0 / 5)


def test_a_pace_is_that_of_each_part_and_nothing_is_left(
    data: TokenData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, step=0.5, evaluation=0.25, checkpoint=2.0)
    written: list[Any] = []

    def write_sample(model: Any) -> None:
        written.append(model)
        clock.now += 4

    config = TINY.updated({"sample_interval": 5}, "test")
    batches = n_batches(data.validation, TINY.block_size)
    found = measure_pace(config, data, 2, tmp_path, 20.0, write_sample, clock)
    assert found == Pace(step=0.5, evaluation=0.25 * batches, checkpoint=2.0, sample=4.0)
    assert list(tmp_path.iterdir()) == []
    assert measure_pace(TINY, data, 2, tmp_path, 20.0, write_sample, clock).sample == 0.0
    assert len(written) == 1


def test_a_long_evaluation_is_timed_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(TEXT * 1500, "long text")  # 250 batches of validation
    data = encode_corpus(corpus, CharTokenizer().train(TEXT))
    every = n_batches(data.validation, TINY.block_size)
    for seconds, some in ((1.0, [1, 16]), (0.02, [1, 16, 64]), (1e-5, [1, 16, 64, every])):
        counts: list[int] = []
        clock = Clock(monkeypatch, step=1.0, evaluation=seconds)
        inner = pace.evaluate

        def watched(*arguments: Any, inner: Any = inner, counts: list[int] = counts) -> float:
            counts.append(arguments[3])
            return inner(*arguments)

        monkeypatch.setattr(pace, "evaluate", watched)
        found = measure_pace(TINY, data, 1, tmp_path, 1.0, clock=clock)
        assert found.evaluation == pytest.approx(seconds * every)
        assert counts == some
        monkeypatch.undo()


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("batches", [0, 1, 3, 10_000])
def test_batches_are_counted_as_they_are_computed(
    documents: bool, batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines.txt").write_text(TEXT * 40)
    choices = Choices(documents="lines" if documents else "files")
    data, _ = prepare_in_memory([tmp_path / "lines.txt"], CharTokenizer(), choices=choices)
    end = data.end if documents else None
    computed = 0

    class Model:
        training = False
        config = type("Config", (), {"block_size": 64})

        def eval(self) -> None: ...
        def train(self, mode: bool) -> None: ...
        def loss(self, x: Any, y: Any) -> float:
            nonlocal computed
            computed += 1
            return 1.0

    evaluate(Model(), data.validation, batches=batches, end=end)  # type: ignore[arg-type]
    assert n_batches(data.validation, 64, batches, end) == computed > 0


def test_the_loop_does_what_the_time_is_computed_from(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each evaluation is the best so far."""
    losses = iter(range(10**6, 0, -1))
    monkeypatch.setattr(loop, "evaluate", lambda *_: float(next(losses)))
    saved: list[int] = []
    real = loop.save_checkpoint

    def save(path: Path, model: Any, optimizer: Any, progress: Any, *others: Any) -> str:
        saved.append(progress.step)
        return real(path, model, optimizer, progress, *others)

    monkeypatch.setattr(loop, "save_checkpoint", save)
    for number, (steps, evaluated, every) in enumerate([(20, 5, 4), (11, 4, 3), (12, 6, 4), (7, 100, 100)]):
        evaluations: list[int] = []

        class Counting(Reporter):
            def evaluated(self, metrics: Any, model: Any, evaluations: list[int] = evaluations) -> None:
                evaluations.append(metrics.step)

        saved.clear()
        run = new_run(f"run-{number}", max_steps=steps, eval_interval=evaluated, checkpoint_interval=every)
        assert train(run, run.data(), reporter=Counting()).finished
        assert seconds_of(run.config, Pace(0.0, 1.0, 0.0)) == len(evaluations)
        assert seconds_of(run.config, Pace(0.0, 0.0, 1.0)) == len(saved)


def test_a_step_without_a_finite_gradient_is_timed_too(data: TokenData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replicas, "loss_and_gradients", lambda *_: (np.nan, np.nan))
    moved: list[Any] = []
    monkeypatch.setattr(Replicas, "update", lambda *arguments: moved.append(arguments))
    ticks = iter(range(10**6))
    assert seconds_per_step(TINY, data, 1, clock=lambda: float(next(ticks))) == 1.0
    assert moved == []
