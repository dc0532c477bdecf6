"""The page on recipes: its runs are those of its command, and what needs no training is found again."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pages
import pytest
import recipes

from handgrad.data import load_text
from handgrad.experiments import LADDER, configs_of
from handgrad.experiments.comparison import encoded_with
from handgrad.models import GPT
from handgrad.runs import TrainConfig, preset
from handgrad.system.files import read_json
from handgrad.tokenizers import make_tokenizer
from handgrad.training import bits_per_character, evaluate

PAGE = pages.page_path("experiments/recipes")


def settings_of_the_command() -> TrainConfig:
    """Those of the first command on the page."""
    command = next(
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("handgrad compare")
    )
    words = shlex.split(command)
    words.remove("--recipes")
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    settings: dict[str, Any] = {
        name.removeprefix("--").replace("-", "_"): int(value) for name, value in flags.items() if value.isdigit()
    }
    return preset(flags["--preset"]).updated(settings, "the page")


def test_the_runs_are_those_of_the_command_on_the_page() -> None:
    config = settings_of_the_command()
    assert TrainConfig(**read_json(recipes.RESULTS)["config"]) == config
    results = recipes.measured()
    assert results.is_ladder
    assert all(len(runs) == 1 for runs in results.measured.values())
    assert {one.steps for runs in results.measured.values() for one in runs} == {config.max_steps}


def test_what_was_measured_are_rungs_of_the_ladder() -> None:
    """In its order. The command measures new rungs, too."""
    rungs = {recipe.name: recipe for recipe in LADDER}
    measured = recipes.measured().recipes
    assert [rungs[recipe.name] for recipe in measured] == list(measured)
    order = list(rungs)
    places = [order.index(recipe.name) for recipe in measured]
    assert places == sorted(places)
    assert len(measured) > 1


def test_what_needs_no_training_is_found_again(shakespeare: Path) -> None:
    """The size of each model, and the loss that it begins with."""
    results, config = recipes.measured(), settings_of_the_command()
    corpus = load_text(shakespeare)
    data = encoded_with(corpus, make_tokenizer(config.tokenizer, config.vocab_size), config)
    for recipe, own in zip(results.recipes, configs_of(results.recipes, True, config, config, set()), strict=True):
        (one,) = results.measured[recipe.name]
        model_config = own.model_config(data.tokenizer.vocab_size)
        assert one.parameters == model_config.n_parameters
        assert one.curve is not None
        assert min(one.curve.validation) == pytest.approx(one.best_bits_per_character)
    loss = evaluate(GPT(model_config, seed=config.seed), data.validation)
    assert one.curve is not None
    assert one.curve.validation[0] == pytest.approx(bits_per_character(loss, data.tokens_per_character), rel=1e-4)
    assert replace(own, max_steps=one.steps) == own
