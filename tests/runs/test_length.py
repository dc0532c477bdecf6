"""The length of a run in minutes: the steps that fit, the defaults that follow, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
from support import TINY

from handgrad.runs import Pace, TrainConfig, check_minutes, fitted, seconds_of
from handgrad.runs.length import FEWEST_STEPS, spoken
from handgrad.system.errors import InputError

PLAIN = TrainConfig(max_steps=1000, warmup_steps=100, eval_interval=250, checkpoint_interval=250)
PACE = Pace(step=0.1, evaluation=1.0, checkpoint=0.05)


def into(
    minutes: float, pace: Pace = PACE, defaults: TrainConfig = PLAIN, **given: Any
) -> tuple[TrainConfig, list[str]]:
    """The settings that fit into the minutes, and what was said."""
    heard: list[str] = []
    return fitted(replace(defaults, **given), defaults, set(given), pace, minutes, heard.append), heard


def counted(config: TrainConfig) -> tuple[int, int, int]:
    """Evaluations, checkpoints and samples, one step after another as the loop has them."""
    evaluations, saves, samples = 1, 0, int(config.sample_interval > 0)
    for step in range(1, config.max_steps + 1):
        evaluated = step % config.eval_interval == 0 or step == config.max_steps
        saved = evaluated or step % config.checkpoint_interval == 0
        evaluations, saves = evaluations + evaluated, saves + saved
        samples += bool(config.sample_interval) and step % config.sample_interval == 0
    return evaluations, saves, samples


@pytest.mark.parametrize("steps", [1, 2, 6, 7, 12, 35, 36, 37, 60, 61])
@pytest.mark.parametrize(("evaluated", "saved"), [(6, 6), (6, 4), (4, 6), (1, 5), (7, 100), (100, 7), (12, 6)])
def test_the_time_is_that_of_all_that_the_loop_does(steps: int, evaluated: int, saved: int) -> None:
    config = replace(TINY, max_steps=steps, eval_interval=evaluated, checkpoint_interval=saved, sample_interval=5)
    evaluations, saves, samples = counted(config)
    assert seconds_of(config, Pace(1.0, 0.0, 0.0)) == steps
    assert seconds_of(config, Pace(0.0, 1.0, 0.0)) == evaluations
    assert seconds_of(config, Pace(0.0, 0.0, 1.0)) == saves
    assert seconds_of(config, Pace(0.0, 0.0, 0.0, 1.0)) == samples
    assert seconds_of(replace(config, sample_interval=0), Pace(0.0, 0.0, 0.0, 1.0)) == 0


@pytest.mark.parametrize("minutes", [0.08, 0.2, 1.0, 1.5, 2.0, 10.0, 60 * 24.0])
@pytest.mark.parametrize("pace", [PACE, Pace(0.1, 0.0, 0.0), Pace(0.001, 0.4, 0.3), Pace(0.05, 0.3, 0.2, 0.5)])
def test_no_more_steps_fit(minutes: float, pace: Pace) -> None:
    found, _ = into(minutes, pace, sample_interval=100)
    assert seconds_of(found, pace) <= 60 * minutes
    assert seconds_of(replace(found, max_steps=found.max_steps + 1), pace) > 60 * minutes - 1e-9
    assert found.warmup_steps < found.max_steps


def test_defaults_keep_their_share_of_a_shorter_run() -> None:
    found, heard = into(0.5)
    assert found.max_steps == 248  # 24.8 s, five evaluations and four checkpoints
    assert (found.warmup_steps, found.eval_interval, found.checkpoint_interval) == (24, 62, 62)
    assert heard == [
        "warmup_steps becomes 24 instead of 100, eval_interval becomes 62 instead of 250, checkpoint_interval becomes "
        "62 instead of 250: the run has 248 steps instead of 1,000"
    ]


def test_defaults_stay_in_a_longer_run() -> None:
    found, heard = into(10)
    assert found == replace(PLAIN, max_steps=found.max_steps)
    assert found.max_steps > 5 * PLAIN.max_steps
    assert heard == []


def test_what_was_given_stays() -> None:
    found, heard = into(0.5, warmup_steps=10, eval_interval=30, checkpoint_interval=7)
    assert (found.warmup_steps, found.eval_interval, found.checkpoint_interval) == (10, 30, 7)
    assert heard == []
    assert found.max_steps == max(
        steps for steps in range(1, 400) if seconds_of(replace(found, max_steps=steps), PACE) <= 30
    )


def test_max_steps_of_a_file_gives_way() -> None:
    assert into(0.5, max_steps=7)[0] == into(0.5)[0]


def test_evaluations_and_checkpoints_that_take_long_become_fewer() -> None:
    slow = Pace(step=0.1, evaluation=20.0, checkpoint=4.0)
    found, heard = into(60, slow)
    assert found.eval_interval == 24 / 0.1 * 4  # four fifths of the time are for steps
    assert found.checkpoint_interval == 4 / 0.1 * 19
    assert heard == [
        "eval_interval becomes 960 instead of 250, checkpoint_interval becomes 760 instead of 250: more often would "
        "take too much of the time"
    ]
    evaluations, _, _ = counted(found)
    assert evaluations * 24 < 0.25 * 3600
    assert into(60, slow, eval_interval=100)[0].eval_interval == 100


def test_a_run_that_is_shorter_than_an_interval_is_evaluated_at_its_end() -> None:
    found, _ = into(1, Pace(step=0.1, evaluation=20.0, checkpoint=4.0))
    assert found.max_steps == found.eval_interval == found.checkpoint_interval == (60 - 2 * 20 - 4) / 0.1


def test_the_decays_of_the_step_schedule_keep_their_share() -> None:
    stepwise = replace(PLAIN, schedule="step", step_size=400)
    assert into(0.5, defaults=stepwise)[0].step_size == 100
    assert into(0.5)[0].step_size == PLAIN.step_size  # the cosine has no use for it


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"warmup_steps": 248},
            "warmup_steps must be less than max_steps, 248, not 248: the learning rate would never",
        ),
        ({"schedule": "step", "step_size": 700}, "step_size must be less than max_steps, 248, not 700"),
    ],
)
def test_what_was_given_and_does_not_fit_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"^--minutes 0\.5 is 248 steps on this machine, and {said}"):
        into(0.5, **given)


def test_a_length_of_a_few_steps_is_refused_and_the_length_that_it_names_suffices() -> None:
    pace = Pace(step=30.0, evaluation=600.0, checkpoint=12.0)
    with pytest.raises(InputError) as caught:
        into(5, pace)
    assert str(caught.value) == (
        "--minutes 5 is too short for 10 steps of this run: a step takes 30 s, an evaluation 10 minutes and a "
        "checkpoint 12 s; give 26 minutes or more, or choose a smaller model"
    )
    assert FEWEST_STEPS <= into(26, pace)[0].max_steps < 20


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), 1e9])
def test_minutes_that_cannot_be_are_refused(minutes: float) -> None:
    with pytest.raises(InputError, match="--minutes must be above 0 and at most 527,040, a year, not ") as caught:
        check_minutes(minutes)
    assert str(caught.value).endswith(f"{minutes:g}")


def test_times_are_spoken_in_fitting_units() -> None:
    said = [spoken(seconds) for seconds in (0.00004, 0.0042, 0.098, 1.26, 59.6, 150.0, 9000.0, 86400.0)]
    assert said == ["0.04 ms", "4.2 ms", "98 ms", "1.3 s", "60 s", "2.5 minutes", "2.5 hours", "24 hours"]
    assert str(Pace(0.1, 2.0, 0.5, 3.0)) == (
        "a step takes 100 ms, an evaluation 2.0 s, a checkpoint 500 ms and a sample 3.0 s"
    )
