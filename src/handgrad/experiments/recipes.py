"""Recipes: settings that are compared on the same text. A ladder of them changes one thing at a time."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handgrad.runs import TrainConfig, agreed, read_config_file, without_effect
from handgrad.system.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 60
_SHARED = (
    "max_steps", "eval_interval", "eval_batches", "checkpoint_interval", "keep", "log_interval", "sample_interval",
    "on_nan", "tensorboard", "shards", "replicas", "seed",
)  # fmt: skip
"""Settings that belong to the comparison: its lengths, its intervals, its seeds."""


@dataclass(frozen=True)
class Recipe:
    """Settings with a name."""

    name: str
    says: str
    """What it changes, in one sentence."""
    changes: Mapping[str, Any]
    """The fields of ``TrainConfig`` that it sets. A rung of a ladder also has those of the rungs before."""


_GPT2: dict[str, Any] = {
    "norm": "layer", "positions": "learned", "qk_norm": False, "attention_scale": None, "activation": "gelu",
    "bias": True, "tie_weights": True,
    "optimizer": "adamw", "lr": 1e-3, "min_lr": 1e-4, "beta2": 0.99, "weight_decay": 0.1,
    "grad_clip": 1.0, "schedule": "cosine", "warmup_steps": 100, "sampling": "random", "token_shift": False,
    "embedding_std": 0.02,
}  # fmt: skip
"""Every setting that a later rung changes; decay_fraction and those of Muon would have no effect yet."""

LADDER: tuple[Recipe, ...] = (
    Recipe(
        "gpt2",
        "The architecture of GPT-2 with AdamW, and the rates of nanoGPT's recipe for a CPU.",
        _GPT2,
    ),
    Recipe("no-biases", "No linear layer has a bias.", {"bias": False}),
    Recipe("rms-norm", "The norms divide by the root mean square, without mean and bias.", {"norm": "rms"}),
    Recipe("rotary", "Queries and keys are turned by position; no position has a vector.", {"positions": "rotary"}),
    Recipe(
        "qk-norm",
        "Queries and keys are brought to a root mean square of 1, and the scores are a little larger.",
        {"qk_norm": True, "attention_scale": 0.23},
    ),
    Recipe("squared-relu", "The feed-forward network uses the square of ReLU.", {"activation": "relu_squared"}),
    Recipe("own-head", "The output head has a table of its own.", {"tie_weights": False}),
    Recipe(
        "higher-rate",
        "The learning rate is six times as high and falls to zero, with nothing to hold it: no decay, no clipping.",
        {"lr": 6e-3, "min_lr": 0.0, "beta2": 0.95, "weight_decay": 0.0, "grad_clip": 0.0},
    ),
    Recipe("muon", "Muon moves the matrices.", {"optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.95}),
    Recipe(
        "trapezoid",
        "The rate stays at its peak for a tenth of the steps and then falls in a line.",
        {"schedule": "trapezoid", "decay_fraction": 0.9, "warmup_steps": 20},
    ),
    Recipe(
        "momentum",
        "Muon's mean gradient forgets twice as fast: a run of few steps has no use for old gradients.",
        {"muon_momentum": 0.9},
    ),
    Recipe(
        "larger-embeddings",
        "Embeddings start ten times as large, so that tokens differ at once, and AdamW's rate is two thirds higher.",
        {"embedding_std": 0.2, "lr": 1e-2},
    ),
    Recipe("token-shift", "Each vector gets a learned share of the one before it.", {"token_shift": True}),
    Recipe("epochs", "Batches show all of the text once before any part a second time.", {"sampling": "epochs"}),
)
"""From GPT-2 to a modern model, one change at a time. A test checks each rung against the settings that there are."""


def check_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """The name. Raises ValueError if it cannot name a directory everywhere."""
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise ValueError(
            f"a recipe's name has at most {longest} letters, digits, dots, dashes and underscores, not {name[:80]!r}"
        )
    return name


def read_recipes(paths: Sequence[Path]) -> tuple[Recipe, ...]:
    """A recipe for each TOML file, whose name is the file's name without its ending.

    Raises InputError if a file cannot be read, if it sets what all recipes share, or if two have the same name.
    """
    recipes: list[Recipe] = []
    for path in paths:
        changes = read_config_file(path)
        try:
            name = check_name(path.stem)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        if name.casefold() in (one.name.casefold() for one in recipes):  # some systems see no difference
            raise InputError(f"{path} is the second recipe called {name!r}; give the file another name")
        if shared := [field for field in _SHARED if field in changes]:
            raise InputError(f"{path}: {shared[0]} is the same for all recipes: give it as a flag or in --config")
        recipes.append(Recipe(name, f"The settings of {path.name}.", changes))
    return tuple(recipes)


def configs_of(
    recipes: Sequence[Recipe],
    is_ladder: bool,
    config: TrainConfig,
    defaults: TrainConfig,
    given: Collection[str],
    notice: Callable[[str], None] = lambda sentence: None,
) -> list[TrainConfig]:
    """The settings of each recipe: ``config``, changed by it and, on a ladder, by those before it.

    Defaults that contradict a recipe move along, and ``notice`` receives a sentence about each. ``defaults`` and
    ``given`` are as for ``agreed``.

    Raises InputError if a recipe sets what was given for all, or something that has no effect or is invalid.
    """
    found: list[TrainConfig] = []
    so_far: dict[str, Any] = {}
    for recipe in recipes:
        for name in recipe.changes:
            if name in given:
                raise InputError(f"recipe {recipe.name} sets {name}, so that it cannot be given for all recipes")
        so_far = {**(so_far if is_ladder else {}), **recipe.changes}
        changed = config.updated(so_far, f"recipe {recipe.name}")
        if useless := without_effect(changed, recipe.changes):
            raise InputError(f"recipe {recipe.name}: {useless}")
        said: list[str] = []
        try:
            found.append(agreed(changed, defaults, {*given, *so_far, "max_steps"}, said.append))
        except InputError as error:
            raise InputError(f"recipe {recipe.name}: {error}") from None
        for sentence in said:
            notice(f"recipe {recipe.name}: {sentence}")
    return found
