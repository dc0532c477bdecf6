"""A comparison of recipes on disk: laid out, read back, trained, reported, refused if it has changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small_comparison import CORPUS, SMALL

from handgrad.data import Corpus
from handgrad.experiments import (
    Budget,
    Measures,
    Recipe,
    RecipeComparison,
    RecipeResults,
    configs_of,
    create_recipe_comparison,
    known_results,
    measure,
    measures,
    open_comparison,
    read_recipe_results,
    read_results,
    recipe_table,
    results_table,
    write_report,
)
from handgrad.experiments.recipe_table import changes_table
from handgrad.runs import TrainConfig, open_run
from handgrad.system.backend_setting import use_backend
from handgrad.system.errors import InputError
from handgrad.training import train

RECIPES = (
    Recipe("plain", "GPT-2.", {"bias": True}),
    Recipe("relu", "ReLU in place of GELU.", {"activation": "relu"}),
    Recipe("slow", "A smaller learning rate.", {"lr": 5e-3}),
)
BUDGETS = {"plain": Budget(16), "relu": Budget(16), "slow": Budget(500, "characters")}
Compared = tuple[RecipeComparison, dict[str, Measures]]


def lay_out(path: Path, corpus: Corpus = CORPUS, config: TrainConfig = SMALL, **changes: Any) -> RecipeComparison:
    settings = {"is_ladder": True, "seeds": 2} | changes
    configs = configs_of(RECIPES, settings["is_ladder"], config, config, set())
    return create_recipe_comparison(path, corpus, config, RECIPES, configs, BUDGETS, **settings)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """All runs but the last one."""
    use_backend("numpy")
    comparison = lay_out(tmp_path_factory.mktemp("recipes") / "out")
    measured = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "SAMPLE_TOKENS", 60)
        for entry in comparison.entries[:-1]:
            run = comparison.run(entry)
            train(run, run.data())
            measured[entry.name] = measure(run, entry)
            (comparison.path / f"curves-{entry.name}.png").touch()  # as if it were drawn
    write_report(comparison, measured, {comparison.entries[-1].name: "it diverged"})
    return comparison, measured


def test_a_comparison_is_read_back_as_it_was_laid_out(compared: Compared) -> None:
    comparison = compared[0]
    assert open_comparison(comparison.path) == comparison
    assert comparison.corpus() == CORPUS
    assert [entry.name for entry in comparison.entries] == [
        f"{name}-seed-{seed}" for name in ("plain", "relu", "slow") for seed in (1337, 1338)
    ]
    with_relu = replace(SMALL, activation="relu")
    slow = comparison.entries[-1].steps
    expected = [
        replace(SMALL, max_steps=16),
        replace(with_relu, max_steps=16),
        replace(with_relu, lr=5e-3, max_steps=slow),
    ]
    for number, entry in enumerate(comparison.entries):
        assert comparison.config_of(entry) == replace(expected[number // 2], seed=1337 + number % 2)
    assert slow == 13  # 40 characters each


def test_each_run_is_an_ordinary_one_with_its_own_seed(compared: Compared) -> None:
    comparison, measured = compared
    for entry in comparison.entries[:-1]:
        run = open_run(comparison.run_path(entry))
        assert run.config == comparison.config_of(entry)
        assert comparison.is_done(entry)
        assert comparison.run(entry) == run
    assert len({one.validation_loss for one in measured.values()}) == len(measured)


def test_one_seed_needs_no_number(tmp_path: Path) -> None:
    comparison = lay_out(tmp_path / "out", seeds=1, is_ladder=False)
    assert [entry.name for entry in comparison.entries] == ["plain", "relu", "slow"]
    assert [entry.settings for entry in comparison.entries] == [{}, {"activation": "relu"}, {"lr": 5e-3}]


def test_recipes_may_have_tokenizers_of_their_own(tmp_path: Path) -> None:
    recipes = [Recipe("char", "Characters.", {}), Recipe("word", "Words.", {"tokenizer": "word", "vocab_size": 290})]
    budgets = dict.fromkeys(("char", "word"), Budget(2))
    said: list[str] = []
    configs = configs_of(recipes, False, SMALL, SMALL, set())
    comparison = create_recipe_comparison(
        tmp_path / "out", CORPUS, SMALL, recipes, configs, budgets, is_ladder=False, say=said.append
    )
    assert [one.split(":")[0] for one in said[:2]] == ["char", "word"]
    for entry in comparison.entries:
        assert comparison.run(entry).tokenizer().kind == entry.name
    char, word = comparison.entries
    assert not comparison.made(char, comparison.untrained(word))
    shutil.rmtree(comparison.run_path(char))
    comparison.run_path(word).rename(comparison.run_path(char))
    with pytest.raises(InputError, match="is a run with other settings"):
        comparison.run(char)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "short": ({"corpus": Corpus("so short a text", "short.txt")}, r"the text \(short.txt\) is too short"),
    "memory": ({"config": replace(SMALL, n_embd=1 << 16, n_layer=99)}, "GiB of memory, and this machine has"),
    "a quick estimate": (
        {"config": replace(SMALL, eval_batches=2)},
        "eval_batches must be 0 to compare recipes, not 2",
    ),
    "no seeds": ({"seeds": 0}, "there can be 1 to 100 seeds, not 0"),
    "many seeds": ({"seeds": 101}, "there can be 1 to 100 seeds, not 101"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_and_nothing_left(case: str, tmp_path: Path) -> None:
    changes, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence):
        lay_out(tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no text": lambda content: content.pop("text"),
    "config": lambda content: content["config"].update(n_layer=-1),
    "ladder": lambda content: content.update(is_ladder=1),
    "recipes": lambda content: content.update(recipes={"plain": 1}),
    "no recipes": lambda content: content.update(recipes=[]),
    "recipe": lambda content: content["recipes"][0].update(name="../plain"),
    "recipe twice": lambda content: content["recipes"].append(content["recipes"][0]),
    "says": lambda content: content["recipes"][0].update(says=5),
    "changes": lambda content: content["recipes"][0].update(changes=[1]),
    "entries": lambda content: content.update(entries={}),
    "no entries": lambda content: content.update(entries=[]),
    "entry": lambda content: content.update(entries=["plain"]),
    "twice": lambda content: content["entries"].append(content["entries"][0]),
    "name": lambda content: content["entries"][0].update(name="../../etc"),
    "long name": lambda content: content["entries"][0].update(name="x" * 300),
    "unknown recipe": lambda content: content["entries"][0].update(recipe="plane"),
    "seed": lambda content: content["entries"][0].update(seed="1"),
    "negative seed": lambda content: content["entries"][0].update(seed=-1),
    "steps": lambda content: content["entries"][0].update(steps=True),
    "budget": lambda content: content["entries"][0].update(budget=5),
    "settings": lambda content: content["entries"][0].update(settings=[1]),
    "setting": lambda content: content["entries"][0]["settings"].update(layers=1),
    "value": lambda content: content["entries"][0]["settings"].update(n_layer="many"),
    "length": lambda content: content["entries"][0]["settings"].update(max_steps=1),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_comparison_is_refused(what: str, compared: Compared, tmp_path: Path) -> None:
    content = json.loads((compared[0].path / "comparison.json").read_text())
    DAMAGE[what](content)
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"comparison\.json is damaged: "):
        open_comparison(tmp_path)


@pytest.mark.parametrize("head", [{"version": 2}, {"format": "handgrad-recipes"}, {"format": ["handgrad-comparison"]}])
def test_another_version_or_kind_is_refused(head: dict[str, Any], compared: Compared, tmp_path: Path) -> None:
    content = json.loads((compared[0].path / "comparison.json").read_text())
    (tmp_path / "comparison.json").write_text(json.dumps(content | head))
    with pytest.raises(InputError, match="does not describe a handgrad comparison of version 1"):
        open_comparison(tmp_path)


def test_the_format_stays(compared: Compared) -> None:
    """Later versions of the program must continue comparisons that are on disk."""
    content = json.loads((compared[0].path / "comparison.json").read_text())
    assert content["entries"][3] == {
        "name": "relu-seed-1338",
        "recipe": "relu",
        "seed": 1338,
        "settings": {"activation": "relu"},
        "budget": {"amount": 16, "unit": "steps"},
        "steps": 16,
    }
    assert content["recipes"][1] == {
        "name": "relu",
        "says": "ReLU in place of GELU.",
        "changes": {"activation": "relu"},
    }
    del content["entries"], content["recipes"]
    assert content == {
        "format": "handgrad-recipe-comparison",
        "version": 1,
        "text": {"source": CORPUS.source, "sha256": CORPUS.sha256},
        "config": asdict(SMALL),
        "is_ladder": True,
    }


def test_results_are_read_back_as_they_were(compared: Compared) -> None:
    comparison, measured = compared
    assert known_results(comparison, pytest.fail) == measured
    results = read_recipe_results(comparison.path / "results.json")
    assert results.recipes == RECIPES
    assert results.is_ladder
    assert [one for runs in results.measured.values() for one in runs] == list(measured.values())
    assert [len(runs) for runs in results.measured.values()] == [2, 2, 1]
    assert recipe_table(results) == results_table(comparison, measured)
    for other in (
        replace(comparison, recipes=RECIPES[:2]),
        replace(comparison, is_ladder=False),
        replace(comparison, corpus_sha256="0"),
        replace(comparison, config=replace(SMALL, lr=0.5)),
    ):
        assert known_results(other, pytest.fail) == {}
    with pytest.raises(InputError, match="it is not handgrad-results of version 1"):
        read_results(comparison.path / "results.json")


BAD_RESULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "version": lambda content: content.update(version=2),
    "no measures": lambda content: content.pop("measures"),
    "run": lambda content: content["measures"][0].update(run="../x"),
    "no name": lambda content: content["measures"][0].pop("run"),
    "field": lambda content: content["measures"][0].pop("steps"),
    "points": lambda content: content["curves"]["plain-seed-1337"]["steps"].pop(),
    "recipes": lambda content: content.update(recipes=3),
    "no recipes": lambda content: content.pop("recipes"),
    "runs": lambda content: content["recipes"][0].update(runs=[3]),
    "ladder": lambda content: content.update(is_ladder=None),
}


@pytest.mark.parametrize("what", BAD_RESULTS)
def test_damaged_results_are_refused(what: str, compared: Compared, tmp_path: Path) -> None:
    content = json.loads((compared[0].path / "results.json").read_text())
    BAD_RESULTS[what](content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"results\.json is not what a comparison wrote: "):
        read_recipe_results(tmp_path / "results.json")


def bits(one: Measures, value: float | None, **changes: Any) -> Measures:
    return replace(one, best_bits_per_character=value, **changes)


def test_the_table_tells_what_was_measured(compared: Compared) -> None:
    one = next(iter(compared[1].values()))
    measured = {
        "plain": [
            bits(one, 2.0, training_loss=1.0, tokens_seen=600, tokens_per_second=5.0, parameters=1234),
            bits(one, 2.1, training_loss=1.5, tokens_seen=600, tokens_per_second=10.0),
        ],
        "slow": [bits(one, 1.95, best_validation_loss=1.25)],
    }
    head, plain, slow = recipe_table(RecipeResults(RECIPES, True, measured))
    assert [name.strip("*") for name in head] == [
        "", "parameters", "steps", "training loss", "validation loss", "bits per character", "from the first",
        "from above", "seconds",
    ]  # fmt: skip
    assert plain[:4] == ["plain", "1,234", "16", "1.250 ± 0.250"]
    assert plain[5:] == ["2.050 ± 0.050", "", "", "90"]
    assert slow[4:8] == ["1.250", "1.950", "−0.100", "−0.100"]
    lost = {"plain": [bits(one, 2.0), bits(one, None)], "relu": [bits(one, 2.2)], "slow": [bits(one, 2.1)]}
    rows = recipe_table(RecipeResults(RECIPES, True, lost))
    assert [row[5:8] for row in rows[1:]] == [
        ["not comparable", "", ""],
        ["2.200", "not comparable", "not comparable"],
        ["2.100", "not comparable", "−0.100"],
    ]
    assert "from above" not in recipe_table(RecipeResults(RECIPES, False, lost))[0]
    assert recipe_table(RecipeResults(RECIPES, True, {}))[1:] == []


def test_what_a_recipe_changes_is_written_as_in_a_file() -> None:
    recipes = (Recipe("a", "It.", {"bias": False, "norm": "layer", "lr": 0.5, "n_layer": 3}), Recipe("b", "None.", {}))
    assert changes_table(RecipeResults(recipes, True, {}))[1:] == [
        ["a", "It.", '`bias = false`, `norm = "layer"`, `lr = 0.5`, `n_layer = 3`'],
        ["b", "None.", "none"],
    ]


def test_the_report_shows_each_recipe_and_each_run(compared: Compared) -> None:
    comparison = compared[0]
    page = (comparison.path / "results.md").read_text(encoding="utf-8")
    assert page.startswith("# 3 recipes, one text\n")
    assert "Not in the table: slow-seed-1338. it diverged\n" in page
    assert "Each row adds its change to those above it." in page
    assert '| relu | ReLU in place of GELU. | `activation = "relu"` |' in page
    assert "<th>plain-seed-1337</th><th>slow-seed-1337</th>" in page
    for entry in comparison.entries[:-1]:
        assert f"](curves-{entry.name}.png)" in page
    assert (comparison.path / "bits.png").exists()
