"""Recipes: the built-in ladder, those of TOML files, and the settings that follow from them."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from small_comparison import SMALL

from handgrad.experiments import LADDER, Recipe, configs_of, read_recipes
from handgrad.models import GPT, Architecture
from handgrad.runs import PRESETS, TrainConfig, preset
from handgrad.system.errors import InputError


def ladder_of(config: TrainConfig) -> list[TrainConfig]:
    return configs_of(LADDER, True, config, config, set(), pytest.fail)


def test_every_rung_sets_settings_that_there_are() -> None:
    known = {field.name for field in fields(TrainConfig)}
    for recipe in LADDER:
        assert recipe.changes.keys() <= known, f"{recipe.name} sets what is no setting"
        assert TrainConfig().updated(recipe.changes, recipe.name)
        assert recipe.says.endswith(".")
        assert recipe.says.count(".") == 1
    assert len({recipe.name for recipe in LADDER}) == len(LADDER) > 2


@pytest.mark.parametrize("name", PRESETS)
def test_each_rung_can_be_climbed_from_every_preset_and_changes_something(name: str) -> None:
    configs = ladder_of(preset(name))
    for number, recipe in enumerate(LADDER):
        if number:
            before, after = configs[number - 1], configs[number]
            changed = {
                field.name for field in fields(TrainConfig) if getattr(before, field.name) != getattr(after, field.name)
            }
            assert changed & set(recipe.changes), f"{recipe.name} sets what the rung before has already"
        for earlier in LADDER[: number + 1]:  # cumulative
            last = {field: value for rung in LADDER[: number + 1] for field, value in rung.changes.items()}
            assert all(getattr(configs[number], field) == last[field] for field in earlier.changes)


def test_every_rung_is_a_model_that_can_be_made() -> None:
    small = replace(preset("quick"), n_embd=16, n_layer=1, block_size=8)
    for config in ladder_of(small):
        model_config = config.model_config(30)
        model = GPT(model_config)
        assert model.n_parameters == model_config.n_parameters
        config.make_optimizer(model.decay_groups(config.weight_decay))


def test_the_ladder_begins_with_gpt2() -> None:
    """Every setting of the architecture that a rung changes is at first what GPT-2 does."""
    first = ladder_of(preset("explicit-char"))[0]
    architecture = {field.name for field in fields(Architecture)}
    changed = {name for recipe in LADDER for name in recipe.changes} & architecture
    default = TrainConfig()
    # These would have no effect with the first rung's schedule and optimizer.
    useless = {"decay_fraction", "muon_lr", "muon_momentum"}
    later = {name for recipe in LADDER[1:] for name in recipe.changes} - useless
    assert later <= LADDER[0].changes.keys()
    assert {name: getattr(first, name) for name in changed} == {name: getattr(default, name) for name in changed}


def test_the_ladder_ends_with_the_preset() -> None:
    modern = preset("modern-cpu")
    last = ladder_of(replace(preset("shakespeare-cpu"), batch_size=modern.batch_size, max_steps=modern.max_steps))[-1]
    intervals = {"eval_interval": modern.eval_interval, "checkpoint_interval": modern.checkpoint_interval}
    assert replace(last, **intervals) == modern


def configs(
    *recipes: dict[str, Any], is_ladder: bool = False, defaults: TrainConfig = SMALL, **given: Any
) -> tuple[list[TrainConfig], list[str]]:
    heard: list[str] = []
    named = [Recipe(f"r{number}", "It.", changes) for number, changes in enumerate(recipes)]
    config = replace(defaults, **given)
    return configs_of(named, is_ladder, config, defaults, set(given), heard.append), heard


def test_rungs_add_up_and_recipes_of_files_stand_alone() -> None:
    changes: tuple[dict[str, Any], ...] = ({}, {"bias": False}, {"activation": "relu"}, {"bias": True})
    assert configs(*changes, is_ladder=True)[0] == [
        SMALL,
        replace(SMALL, bias=False),
        replace(SMALL, bias=False, activation="relu"),
        replace(SMALL, activation="relu"),
    ]
    assert configs(*changes)[0][2] == replace(SMALL, activation="relu")
    assert configs({}, {"activation": "relu"}, n_layer=3)[0] == [
        replace(SMALL, n_layer=3),
        replace(SMALL, n_layer=3, activation="relu"),
    ]


def test_a_default_that_contradicts_a_recipe_moves_along() -> None:
    (found,), heard = configs({"lr": 1e-4})
    assert (found.lr, found.min_lr) == (1e-4, 1e-5)
    assert heard == ["recipe r0: min_lr becomes 1e-05 instead of 0.001: the default is above lr 0.0001"]
    (_, later), _ = configs({"lr": 1e-4, "min_lr": 1e-6}, {"bias": False}, is_ladder=True)
    assert later.min_lr == 1e-6
    byte_pairs = replace(SMALL, tokenizer="bpe", vocab_size=300)
    assert configs({"tokenizer": "char"}, defaults=byte_pairs)[0][0].vocab_size is None


@pytest.mark.parametrize(
    ("recipe", "given", "said"),
    [
        ({"bias": False}, {"bias": True}, "recipe r0 sets bias, so that it cannot be given for all recipes"),
        ({"layers": 3}, {}, "recipe r0: unknown field 'layers'; choose from "),
        ({"n_head": 5}, {}, "recipe r0: n_embd 8 must be a multiple of n_head 5"),
        ({"lr": "fast"}, {}, "recipe r0: lr must be of type float, not fast"),
        ({"lr": 1e-3, "min_lr": 1e-2}, {}, "recipe r0: min_lr must be at most lr"),
        ({"step_size": 3}, {}, "recipe r0: step_size has no effect with schedule cosine"),
    ],
)
def test_recipes_that_cannot_be_are_refused(recipe: dict[str, Any], given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        configs(recipe, **given)
    assert str(caught.value).startswith(said)


def test_a_file_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text("")
    (tmp_path / "my-recipe_2.0.toml").write_text('bias = false\nactivation = "relu"\nlr = 1e-3\n')
    plain, mine = read_recipes([tmp_path / "plain.toml", tmp_path / "my-recipe_2.0.toml"])
    assert (plain.name, plain.changes) == ("plain", {})
    assert mine == Recipe(
        "my-recipe_2.0",
        "The settings of my-recipe_2.0.toml.",
        {"bias": False, "activation": "relu", "lr": 1e-3},
    )


@pytest.mark.parametrize(
    ("names", "content", "said"),
    [
        (["a.toml", "deep/A.toml"], "", r"A\.toml is the second recipe called 'A'; give the file another name"),
        (["ö.toml"], "", "a recipe's name has at most 60 letters, digits, dots, dashes and underscores, not 'ö'"),
        ([f"{'x' * 61}.toml"], "", "a recipe's name has at most 60 letters"),
        (["-.toml"], "", "a recipe's name has at most"),
        (["a.toml"], "bias", r"a\.toml is not valid TOML"),
        (["a.toml"], "max_steps = 3", r"a\.toml: max_steps is the same for all recipes: give it as a flag or in"),
        (["a.toml"], "eval_batches = 3", "eval_batches is the same for all"),
        (["a.toml"], "seed = 3", "seed is the same for all"),
    ],
)
def test_files_that_are_no_recipes_are_refused(names: list[str], content: str, said: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read_recipes([tmp_path / name for name in names])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.toml: no such file"):
        read_recipes([tmp_path / "a.toml"])
