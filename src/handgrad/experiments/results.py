"""results.json: the measures of the runs of a comparison, written after each run and read on resume."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.experiments import recipe_comparison, tokenizer_comparison
from handgrad.experiments.candidates import candidate
from handgrad.experiments.comparison import Comparison, list_in, text_in
from handgrad.experiments.measures import Curve, Measures, Writing
from handgrad.experiments.recipe_comparison import flag_in, recipes_in
from handgrad.experiments.recipes import Recipe, check_name
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import read_json, write_json

_VERSION = 1
_LARGEST = 1 << 53
"""Larger than any count, and than any point of a curve."""
_LONGEST_NAME = 90
_KEYS = {tokenizer_comparison.RESULTS_FORMAT: "tokenizer", recipe_comparison.RESULTS_FORMAT: "run"}
"""What the name of a run is called in each kind of file."""


@dataclass(frozen=True)
class RecipeResults:
    """What a comparison of recipes has measured."""

    recipes: tuple[Recipe, ...]
    is_ladder: bool
    measured: Mapping[str, Sequence[Measures]]
    """Of each recipe by its name, one for each seed; runs that diverged are missing."""


def panel_of(name: str) -> str:
    """The file with the curves of a run."""
    return f"curves-{name}.png"


def write_results(comparison: Comparison[Any], measured: Sequence[Measures]) -> None:
    """Writes results.json into the directory of the comparison."""
    head = comparison.head_of_results()
    key = _KEYS[head["format"]]
    measures = [
        {key if name == "name" else name: value for name, value in asdict(one).items() if name != "curve"}
        for one in measured
    ]
    curves = {one.name: asdict(one.curve) for one in measured if one.curve is not None}
    write_json(comparison.path / "results.json", {**head, "measures": measures, "curves": curves})


def known_results(comparison: Comparison[Any], notice: Callable[[str], None]) -> dict[str, Measures]:
    """The measures of this comparison's runs that results.json holds, by their names.

    If results.json is damaged, ``notice`` is called and every run must be measured again.
    """
    path = comparison.path / "results.json"
    if not path.exists():
        return {}
    head = comparison.head_of_results()
    try:
        content = read_json(path)
        measured = {one.name: one for one in _measures(content, path, head["format"])}
    except InputError as error:
        notice(f"{error}; the runs are measured again")
        return {}
    if head != {name: content.get(name) for name in head}:
        return {}
    return {
        entry.name: one
        for entry in comparison.entries
        if (one := measured.get(entry.name)) is not None
        and (one.budget, one.steps) == (str(entry.budget), entry.steps)
        and (comparison.path / panel_of(entry.name)).exists()
    }


def read_results(path: Path) -> list[Measures]:
    """The measures in the results.json of a comparison of tokenizers. Raises InputError if it is damaged."""
    return _measures(read_json(path), path, tokenizer_comparison.RESULTS_FORMAT)


def read_recipe_results(path: Path) -> RecipeResults:
    """The results.json of a comparison of recipes. Raises InputError if it is damaged."""
    content = read_json(path)
    measured = {one.name: one for one in _measures(content, path, recipe_comparison.RESULTS_FORMAT)}
    try:
        recipes, is_ladder = recipes_in(content["recipes"]), flag_in(content["is_ladder"])
        runs = {value["name"]: [text_in(name) for name in list_in(value["runs"])] for value in content["recipes"]}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _not_written(path, error) from None
    return RecipeResults(recipes, is_ladder, by_recipe(runs, measured))


def by_recipe(runs: Mapping[str, Sequence[str]], measured: Mapping[str, Measures]) -> dict[str, list[Measures]]:
    """The measures of the runs of each recipe, as far as there are any."""
    return {recipe: [measured[name] for name in names if name in measured] for recipe, names in runs.items()}


def _measures(content: Mapping[str, Any], path: Path, kind: str) -> list[Measures]:
    try:
        if (content.get("format"), content.get("version")) != (kind, _VERSION):
            raise ValueError(f"it is not {kind} of version {_VERSION}")
        return [_measures_of(values, content["curves"], _KEYS[kind]) for values in content["measures"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _not_written(path, error) from None


def _not_written(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is not what a comparison wrote: {error}")


def _measures_of(values: Mapping[str, Any], curves: Mapping[str, Any], key: str) -> Measures:
    name = text_in(values[key])
    name = candidate(name).name if key == "tokenizer" else check_name(name, _LONGEST_NAME)
    curve, samples = curves.get(name), values["samples"]
    if not (isinstance(samples, list) and samples and all(isinstance(sample, str) for sample in samples)):
        raise ValueError("samples must be texts")
    one = dataclass_from_json(
        Measures,
        {field: value for field, value in values.items() if field not in ("writing", "samples", key)},
        name=name,
        writing=dataclass_from_json(Writing, values["writing"]),
        samples=tuple(samples),
        curve=None if curve is None else Curve(**{field: _points(field, points) for field, points in curve.items()}),
    )
    for field, value in {**vars(one), **vars(one.writing)}.items():
        least = 1 if field in ("parameters", "validation_tokens") else 0
        if isinstance(value, int) and not least <= value < _LARGEST:
            raise ValueError(f"{field} cannot be {value}")
    if one.tokens_per_second <= 0:
        raise ValueError(f"tokens_per_second must be above 0, not {one.tokens_per_second}")
    if one.curve is not None:
        lengths = {len(points) for name, points in vars(one.curve).items() if points or name != "steps"}
        if len(lengths) > 1:
            raise ValueError("the parts of a curve must have as many points")
    return one


def _points(name: str, values: Any) -> tuple[float, ...]:
    if not (isinstance(values, list) and (values or name == "steps")):
        raise ValueError(f"{name} must be a list of points")
    if not all(type(value) in (int, float) and 0 <= value < _LARGEST for value in values):
        raise ValueError(f"the points of {name} must be numbers of at least 0")
    return tuple(map(float, values))
