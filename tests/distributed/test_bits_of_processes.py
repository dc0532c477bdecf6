"""The bits of gradients, weights and moments do not depend on the number of processes and threads."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_kinds import KINDS

from handgrad.models import GPT
from handgrad.runs import Run, TrainConfig
from handgrad.system import processes as processes_module
from handgrad.system.errors import InputError
from handgrad.system.processes import Place, Processes, place_among_processes
from handgrad.training.division import Division
from handgrad.training.exchange import _cut, _widened, numbers_received
from handgrad.training.starting import check_same_everywhere

PROGRAM = Path(__file__).with_name("steps_of_processes.py")
SECONDS = 300


def hashes(launch: Callable[..., Any], processes: int, threads: int) -> dict[str, str]:
    printed, errors = (process := launch(processes, PROGRAM, threads)).communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return json.loads(printed)


@pytest.mark.slow
def test_the_same_bits_with_any_number_of_processes_and_threads(launch: Callable[..., Any]) -> None:
    """Both kinds of model and both precisions, with dropout and accumulation, and fewer shards than processes too."""
    alone = hashes(launch, 0, 1)
    assert list(alone) == list(KINDS)
    assert len(set(alone.values())) == len(KINDS)
    for processes, threads in ((0, 2), (2, 1), (3, 2), (4, 1)):
        assert hashes(launch, processes, threads) == alone, (processes, threads)


def test_the_launcher_tells_a_process_its_number() -> None:
    assert place_among_processes({}) == Place(0, 1)
    assert place_among_processes({"PMI_RANK": "2", "PMI_SIZE": "3"}) == Place(2, 3)
    assert place_among_processes({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}) == Place(0, 4)
    assert place_among_processes({"SLURM_STEP_NUM_TASKS": "8"}) == Place(0, 1)  # a script, which srun did not start
    assert place_among_processes({"SLURM_STEP_NUM_TASKS": "8", "PMIX_RANK": "5"}) == Place(5, 8)


class _One(Processes):
    """One of several processes; nothing is sent."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_parameters_are_divided_once_and_in_order(optimizer: Any) -> None:
    config = TrainConfig(n_layer=3, n_embd=32, n_head=2, block_size=8, optimizer=optimizer)
    model = GPT(config.model_config(11))
    size = model.arena.data.size
    for count in (1, 2, 3, 5, 64):
        divisions = [
            Division(model, config.make_optimizer(model.decay_groups(0.1)), _One(rank, count)) for rank in range(count)
        ]
        spans = divisions[0].spans
        assert [division.spans for division in divisions] == [spans] * count
        assert (spans[0].start, spans[-1].stop, len(spans)) == (0, size, count)
        assert all(before.stop == after.start for before, after in itertools.pairwise(spans))
        for part in model.arena.parts:
            owners = [rank for rank, division in enumerate(divisions) if division.is_own(part.parameter)]
            assert len(owners) == 1
            assert spans[owners[0]].start <= part.span.start
            assert part.span.stop <= spans[owners[0]].stop
        assert count > 3 or max(span.stop - span.start for span in spans) < 2 * size / count


def test_each_piece_of_the_norm_is_counted_once() -> None:
    for size, spans in ((10, [(0, 3), (3, 4), (4, 4), (4, 10)]), (9, [(0, 0), (0, 8), (8, 9)]), (7, [(0, 7)])):
        counted: list[int] = []
        for first, stop in spans:
            wanted = _widened(slice(first, stop), 4, size)
            places = _cut(wanted, 4)
            assert [each for place in places for each in range(place.start, place.stop)] == list(
                range(wanted.start, wanted.stop)
            )
            assert wanted.stop >= stop
            whole = [place for place in places if place.start % 4 == 0]
            assert all(place.stop == min(place.start + 4, size) for place in whole)
            counted += [place.start for place in whole]
        assert counted == list(range(0, size, 4))


def test_what_a_process_receives() -> None:
    assert numbers_received(8, 2, 1000) == 500  # one node of four shards
    assert numbers_received(5, 2, 1000) == 500  # 0, 1 and 2 here, 3 + 4 there
    assert numbers_received(8, 3, 900) == 900  # there 3, 4 + 5 and 6 + 7: three thirds
    assert numbers_received(1, 4, 1000) == 0


def test_a_process_is_alone_once_the_same_answer_is_missing_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, missing = processes_module._Connected.__new__(processes_module._Connected), object()
    waits = [object() for _ in range(300)]  # each answer comes between two looks
    waits += [None] * 300  # it computes
    waits += [missing] * 90 + [object()] + [missing] * 300
    naps: list[float] = []

    def nap(seconds: float) -> None:
        waiting._expected = waits[len(naps)]
        naps.append(seconds)

    monkeypatch.setattr(processes_module.time, "sleep", nap)
    waiting._wait_until_alone(50.0)
    # The first look at the missing answer does not count, as it may just have been asked for.
    assert naps == [0.5] * (300 + 300 + 90 + 1 + 1 + 100)


class _Told(_One):
    """Process 0 of two; ``other`` makes of its own values those of the other process."""

    def __init__(self, other: Callable[[Any], Any]) -> None:
        super().__init__(0, 2)
        self.other = other

    def gathered(self, value: Any, *, waits: bool = False) -> list[Any]:
        return [value, self.other(value)]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda here: ((1, 2), here[1], "far"), "process 1 on far reads other tokens in .* than process 0"),
        (
            lambda here: (here[0], ["blas was x and is now y"], "far"),
            "process 1 on far .*because blas was x and is now y",
        ),
    ],
)
def test_processes_that_would_compute_other_bits_are_refused(
    other: Callable[[Any], Any], said: str, new_run: Callable[..., Run]
) -> None:
    run = new_run()
    checksums = run.data().check_content()
    check_same_everywhere(run, checksums, _Told(lambda here: here))
    with pytest.raises(InputError, match=said):
        check_same_everywhere(run, checksums, _Told(other))
