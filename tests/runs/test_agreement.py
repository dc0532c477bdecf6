"""Settings of which one limits another: defaults move along, contradictions are refused, nothing happens silently."""

from dataclasses import replace
from typing import Any

import pytest
from support import TINY

from handgrad.runs import PRESETS, TrainConfig, agreed, check_agrees, preset, without_effect
from handgrad.system.errors import InputError

PLAIN = TrainConfig()


def settled(name: str | None = None, **given: Any) -> tuple[dict[str, Any], list[str]]:
    """The settings that differ from the defaults, or from a preset, after some were given, and what was said."""
    heard: list[str] = []
    defaults = PLAIN if name is None else preset(name)
    found = agreed(replace(defaults, **given), defaults, set(given), heard.append)
    return {key: value for key, value in vars(found).items() if value != getattr(defaults, key)}, heard


def test_a_default_min_lr_moves_below_a_smaller_lr() -> None:
    assert settled(lr=1e-5) == (
        {"lr": 1e-5, "min_lr": 1e-6},
        ["min_lr becomes 1e-06 instead of 0.0002: the default is above lr 1e-05"],
    )
    assert settled("gpt2", lr=3e-5) == (
        {"lr": 3e-5, "min_lr": 3e-6},
        ["min_lr becomes 3e-06 instead of 6e-05: the default is above lr 3e-05"],
    )


def test_a_limit_for_byte_pairs_is_none_for_characters() -> None:
    """A Chinese text has thousands of characters: none may be lost because of a default."""
    assert settled("quick", tokenizer="char")[0] == {"tokenizer": "char", "vocab_size": None}
    assert settled("quick", tokenizer="char", vocab_size=900)[0] == {"tokenizer": "char", "vocab_size": 900}
    assert settled("quick", tokenizer="word")[0] == {"tokenizer": "word"}
    assert settled("gpt2", tokenizer="char") == ({}, [])


@pytest.mark.parametrize("name", PRESETS)
def test_the_rate_never_rises_after_the_warm_up(name: str) -> None:
    defaults = preset(name)
    found = agreed(replace(defaults, lr=1e-5), defaults, {"lr"})
    schedule = found.make_schedule()
    rates = [schedule(step) for step in range(found.warmup_steps, found.max_steps)]
    assert max(rates) == pytest.approx(1e-5)
    assert rates == sorted(rates, reverse=True)


def test_what_is_not_contradicted_stays() -> None:
    for given in ({"lr": 1e-3}, {"min_lr": 1e-4}, {"max_steps": 51}, {"schedule": "constant", "lr": 1e-5}, {}):
        assert settled(**given) == (given, [])


@pytest.mark.parametrize("given", [{"min_lr": 1e-2}, {"lr": 1e-5, "min_lr": 1e-4}])
def test_a_schedule_that_would_rise_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"^min_lr must be at most lr, .*, not .*: the cosine schedule would rise"):
        settled(**given)
    with pytest.raises(InputError, match=r"^min_lr must be at most lr, .*, not .*: the trapezoid schedule would rise"):
        settled(**given, schedule="trapezoid")
    with pytest.raises(InputError, match="min_lr must be at most lr"):
        check_agrees(replace(PLAIN, **given))
    check_agrees(replace(PLAIN, **given), {"max_steps"})  # an old run that changes something else
    check_agrees(replace(PLAIN, schedule="constant", **given))


def test_a_default_warm_up_fits_into_fewer_steps() -> None:
    said = "with {} steps the learning rate would never reach lr"
    assert settled(max_steps=50) == (
        {"max_steps": 50, "warmup_steps": 1},
        ["warmup_steps becomes 1 instead of 50: " + said.format(50)],
    )
    assert settled(max_steps=3)[0] == {"max_steps": 3, "warmup_steps": 0}
    with pytest.raises(InputError, match=r"^warmup_steps must be less than max_steps, 1500, not 1500: the learning"):
        settled(warmup_steps=1500)
    changed, heard = settled(warmup_steps=100, max_steps=60)
    assert changed == {"warmup_steps": 100, "max_steps": 60}  # as asked
    assert heard == ["warmup_steps is 100: " + said.format(60)]


def test_a_default_step_size_fits_into_fewer_steps() -> None:
    assert settled(schedule="step", max_steps=300) == (
        {"schedule": "step", "max_steps": 300, "step_size": 100},
        ["step_size becomes 100 instead of 500: with 300 steps the learning rate would never decay"],
    )
    assert settled(max_steps=300)[0] == {"max_steps": 300}  # cosine
    assert settled(schedule="step", max_steps=1)[1][0].startswith("warmup_steps becomes 0")
    with pytest.raises(InputError, match=r"^step_size must be less than max_steps, 1500, not 2000: the learning rate"):
        settled(schedule="step", step_size=2000)


def test_more_shards_than_windows_are_named() -> None:
    assert settled(shards=32) == (
        {"shards": 32},
        ["shards is 32, but a batch has only 16 windows: it is cut into 16"],
    )


@pytest.mark.parametrize(
    ("changes", "given", "said"),
    [
        (
            {"schedule": "constant"},
            {"min_lr"},
            "min_lr has no effect with schedule constant, only with schedule cosine or trapezoid",
        ),
        ({}, {"step_size"}, "step_size has no effect with schedule cosine, only with schedule step"),
        ({}, {"step_gamma"}, "step_gamma has no effect with schedule cosine, only with schedule step"),
        (
            {"optimizer": "sgd"},
            {"beta2"},
            "beta2 has no effect with optimizer sgd, only with optimizer adam, adamw or muon",
        ),
        ({}, {"muon_lr"}, "muon_lr has no effect with optimizer adamw, only with optimizer muon"),
        (
            {"optimizer": "sgd"},
            {"muon_momentum"},
            "muon_momentum has no effect with optimizer sgd, only with optimizer muon",
        ),
        ({}, {"decay_fraction"}, "decay_fraction has no effect with schedule cosine, only with schedule trapezoid"),
        (
            {"schedule": "step"},
            {"decay_shape"},
            "decay_shape has no effect with schedule step, only with schedule trapezoid",
        ),
        (
            {"cautious": True, "weight_decay": 0.0},
            {"cautious"},
            "cautious has no effect with weight_decay 0, only with weight decay",
        ),
        ({"cautious": True, "optimizer": "muon"}, {"cautious", "muon_lr", "muon_momentum", "beta1", "beta2"}, None),
        ({"schedule": "trapezoid"}, {"min_lr", "decay_fraction", "decay_shape"}, None),
        ({"schedule": "step"}, {"step_size", "step_gamma", "beta2"}, None),
        ({}, {"min_lr", "beta2", "lr"}, None),
    ],
)
def test_a_setting_that_another_makes_useless(changes: dict[str, Any], given: set[str], said: str | None) -> None:
    assert without_effect(replace(TINY, **changes), given) == said
