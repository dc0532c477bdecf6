"""A comparison of recipes: a text, and a run for each recipe and each seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handgrad.data import Corpus, TokenData
from handgrad.experiments.budget import Budget
from handgrad.experiments.comparison import (
    Comparison,
    check_can_be_compared,
    check_names,
    content_of,
    described,
    encoded_with,
    lay_out,
    length_in,
    list_in,
    shared_fields,
    steps_of,
    text_in,
    unusual,
)
from handgrad.experiments.recipes import Recipe, check_name
from handgrad.runs import TrainConfig
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer, make_tokenizer

FORMAT, RESULTS_FORMAT = "handgrad-recipe-comparison", "handgrad-recipe-results"
MOST_SEEDS = 100
_LONGEST_NAME = 90
"""Of a run: that of its recipe, and its seed."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe with a seed, and how long its model is trained."""

    name: str
    recipe: str
    seed: int
    settings: Mapping[str, Any]
    """The fields in which the run differs from the settings of the comparison, besides seed and max_steps."""
    budget: Budget
    steps: int


@dataclass(frozen=True)
class RecipeComparison(Comparison[RecipeEntry]):
    """One text under several recipes."""

    recipes: tuple[Recipe, ...]
    is_ladder: bool
    """Whether each recipe also has the changes of those before it."""

    def config_of(self, entry: RecipeEntry) -> TrainConfig:
        return replace(self.config, **entry.settings, seed=entry.seed, max_steps=entry.steps)

    def untrained(self, entry: RecipeEntry) -> Tokenizer:
        return _untrained(self.config_of(entry))

    def made(self, entry: RecipeEntry, tokenizer: Tokenizer) -> bool:
        return tokenizer.kind == self.config_of(entry).tokenizer

    def runs_of(self, recipe: Recipe) -> list[str]:
        """The names of the runs of a recipe, one for each seed."""
        return [entry.name for entry in self.entries if entry.recipe == recipe.name]

    def head_of_results(self) -> dict[str, Any]:
        recipes = [{**asdict(recipe), "runs": self.runs_of(recipe)} for recipe in self.recipes]
        return content_of(self, RESULTS_FORMAT) | {"is_ladder": self.is_ladder, "recipes": recipes}


def create_recipe_comparison(
    path: Path,
    corpus: Corpus,
    config: TrainConfig,
    recipes: Sequence[Recipe],
    configs: Sequence[TrainConfig],
    budgets: Mapping[str, Budget],
    *,
    is_ladder: bool,
    seeds: int = 1,
    say: Say = lambda sentence: None,
) -> RecipeComparison:
    """Lays out a comparison, with its text and its settings. Each run is laid out when its turn comes.

    ``configs``: the settings of each recipe, from ``configs_of``. Each recipe is trained with ``seeds`` seeds, from
    that of ``config`` on. ``say`` is called with a description of each recipe.

    Raises InputError if the directory is not free, if the text is too short, or if a model is larger than memory.
    """
    check_can_be_compared(path, config, "recipes", "each must predict the whole validation text")
    if not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"there can be 1 to {MOST_SEEDS} seeds, not {seeds}")
    entries, sentences, odd = [], [], []
    texts: dict[tuple[Any, ...], TokenData] = {}
    for recipe, own in zip(recipes, configs, strict=True):
        kind = (own.tokenizer, own.vocab_size, own.byte_fallback)
        if kind not in texts:
            texts[kind] = encoded_with(corpus, _untrained(own), own)
        texts[kind].check_length(own.block_size, own.boundaries)
        budget = budgets[recipe.name]
        steps = steps_of(recipe.name, budget, own, texts[kind])
        settings = {name: value for name, value in asdict(own).items() if value != getattr(config, name)}
        for seed in range(config.seed, config.seed + seeds):
            name = recipe.name if seeds == 1 else f"{recipe.name}-seed-{seed}"
            entries.append(RecipeEntry(name, recipe.name, seed, settings, budget, steps))
        sentences.append(described(recipe.name, budget, steps, own, texts[kind]))
        odd += unusual(recipe.name, steps, own)
    comparison = RecipeComparison(path, corpus.source, corpus.sha256, config, tuple(entries), tuple(recipes), is_ladder)
    lay_out(comparison, corpus, _content(comparison))
    for sentence in (*sentences, *odd):
        say(sentence)
    return comparison


def recipe_comparison_in(path: Path, content: Mapping[str, Any]) -> RecipeComparison:
    """The comparison that a comparison.json describes. Raises KeyError, ValueError and the like if it is damaged."""
    recipes = recipes_in(content["recipes"])
    fields = shared_fields(path, content)
    names = {recipe.name for recipe in recipes}
    entries = tuple(_entry(value, names) for value in list_in(content["entries"]))
    check_names(entries)
    comparison = RecipeComparison(entries=entries, recipes=recipes, is_ladder=flag_in(content["is_ladder"]), **fields)
    for entry in entries:
        fields["config"].updated({**entry.settings, "seed": entry.seed}, str(path / "comparison.json"))
    return comparison


def recipes_in(values: Any) -> tuple[Recipe, ...]:
    """The recipes in a JSON file. Raises ValueError and the like if they are damaged."""
    recipes = tuple(
        Recipe(check_name(text_in(value["name"])), text_in(value["says"]), mapping_in(value["changes"]))
        for value in list_in(values)
    )
    if not recipes or len({recipe.name for recipe in recipes}) < len(recipes):
        raise ValueError("recipes must be a list of at least one, each with a name of its own")
    return recipes


def mapping_in(value: Any) -> dict[str, Any]:
    """Raises ValueError if it is no object of JSON."""
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:80]!r} should be an object")
    return value


def flag_in(value: Any) -> bool:
    """Raises ValueError if it is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:80]!r} should be true or false")
    return value


def _content(comparison: RecipeComparison) -> dict[str, Any]:
    return content_of(comparison, FORMAT) | {
        "is_ladder": comparison.is_ladder,
        "recipes": [asdict(recipe) for recipe in comparison.recipes],
        "entries": [asdict(entry) for entry in comparison.entries],
    }


def _entry(value: Mapping[str, Any], recipes: set[str]) -> RecipeEntry:
    recipe, seed, settings = text_in(value["recipe"]), value["seed"], mapping_in(value["settings"])
    if recipe not in recipes:
        raise ValueError(f"an entry names the recipe {recipe[:80]!r}, which is not there")
    if type(seed) is not int:
        raise ValueError(f"a seed must be an integer, not {str(seed)[:80]!r}")
    if both := {"seed", "max_steps"} & set(settings):
        raise ValueError(f"the settings of an entry cannot hold {min(both)}")
    return RecipeEntry(check_name(text_in(value["name"]), _LONGEST_NAME), recipe, seed, settings, *length_in(value))


def _untrained(config: TrainConfig) -> Tokenizer:
    return make_tokenizer(config.tokenizer, config.vocab_size, config.byte_fallback)
