"""New models from a configuration, and saved models from files."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handgrad.models.config import WITHOUT_WEIGHTS, GPTConfig
from handgrad.models.formats.model_in_checkpoint import MODEL, STATE, config_of_run, last_checkpoint, read_model
from handgrad.models.formats.weights import read_weights
from handgrad.models.gpt import GPT
from handgrad.models.language_model import LanguageModel
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError


def new_model(config: GPTConfig, *, seed: int = 0, dtype: npt.DTypeLike = np.float32) -> LanguageModel:
    """A model of this configuration with new random weights. One seed gives one model."""
    return GPT(config, seed=seed, dtype=dtype)


def load(path: str | os.PathLike[str]) -> LanguageModel:
    """The model in a run's directory (its last checkpoint), in a checkpoint, or in a file of weights.

    A file of weights is what ``model.save`` writes, or the model.safetensors of a checkpoint. The model is in
    evaluation mode, as after ``model.eval()``.

    Raises InputError if there is no model at ``path``, if what is there is damaged, or if safetensors is not installed.
    """
    path = Path(path)
    try:
        path = path.resolve() if path.is_symlink() else path
        if (path / "config.json").is_file():
            return _of_run(path)
        if (path / STATE).is_file():
            arrays, config = read_model(path)
            return _filled(config, arrays, path / MODEL)
        if path.is_dir():
            if (path / MODEL).is_file():
                return load(path / MODEL)
            raise InputError(f"{path} holds no model: it is neither a run (no config.json) nor a checkpoint")
        if path.name == MODEL and (path.parent / STATE).is_file():
            return load(path.parent)
    except OSError as error:
        raise InputError(f"{str(path)[:200]} cannot be read: {error.strerror or error}") from None
    arrays, found = read_weights(path)
    if found is None:
        raise InputError(f"{path} does not say which model its arrays belong to; model.save(path) writes files that do")
    return _filled(found, arrays, path)


def _of_run(run: Path) -> LanguageModel:
    config = config_of_run(run)
    return load_checkpoint_of_run(last_checkpoint(run), config)


def load_checkpoint_of_run(checkpoint: Path, config: GPTConfig) -> LanguageModel:
    """The model in a checkpoint of a run whose config.json describes ``config``, in evaluation mode.

    Raises DamagedError if the file of weights is damaged, InputError if it holds another model.
    """
    arrays, found = read_model(checkpoint)
    check_is_of(found, config, checkpoint / MODEL)
    return _filled(config, arrays, checkpoint / MODEL)


def check_is_of(found: GPTConfig, config: GPTConfig, source: Path) -> None:
    """Raises InputError if weights of ``found`` are not those of ``config``. Dropout and precision may differ: they
    have no weights.
    """
    pairs = [(field.name, getattr(found, field.name), getattr(config, field.name)) for field in fields(config)]
    differences = [
        f"{name} is {a} in the file and should be {b}" for name, a, b in pairs if a != b and name not in WITHOUT_WEIGHTS
    ]
    if differences:
        raise InputError(f"{source} does not fit its model: {', '.join(differences)}")


def fill(model: LanguageModel, arrays: Mapping[str, Array], source: Path) -> None:
    """Copies arrays into a model, by their names in files. Raises InputError, naming ``source``, if they do not fit."""
    try:
        model.load_state_dict(arrays)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{source} does not fit its model: {error}") from None


def _filled(config: GPTConfig, arrays: Mapping[str, Array], source: Path) -> LanguageModel:
    held = sum(array.size for array in arrays.values())
    if held != config.n_parameters:  # before the model is made: a damaged description may be larger than memory
        raise InputError(
            f"{source} holds {held:,} numbers, but the model that it describes has {config.n_parameters:,} parameters"
        )
    is_double = any(array.dtype == np.float64 for array in arrays.values())
    model = new_model(config, dtype=np.float64 if is_double else np.float32)
    fill(model, arrays, source)
    return model.eval()
