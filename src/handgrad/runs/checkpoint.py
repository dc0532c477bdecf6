"""One checkpoint: a directory that is written under a temporary name, flushed, renamed once, and checked when read.

``state.json`` holds the run's progress, the sizes and SHA-256 of the two files of arrays, and its own SHA-256.

``model.safetensors`` holds the weights that a reader wants. If the run averages its weights (``ema``), these are the
averaged ones, and ``optimizer.safetensors`` holds the weights that training goes on from, beside the moments.

Nothing in a checkpoint is ever executed, and no name in it is followed to another file.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.models import GPTConfig, LanguageModel
from handgrad.models.formats.model_in_checkpoint import (
    CHECKPOINT_VERSION,
    MODEL,
    OPTIMIZER,
    STATE,
    read_state,
    sha256_of_json,
)
from handgrad.models.formats.weights import read_weights, weights_bytes
from handgrad.models.loading import check_is_of, fill, load_checkpoint_of_run
from handgrad.optim import Optimizer, WeightAverage
from handgrad.system.arrays import Array
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import DamagedError, InputError
from handgrad.system.files import flush_directory, write_flushed
from handgrad.system.state_files import load, safetensors_bytes

_TRAINED = "weight"
"""The kind of the arrays in ``optimizer.safetensors`` that hold the weights of training, beside averaged ones."""


@dataclass
class Progress:
    """How far a run has come. Batches and dropout are drawn from (seed, step), so no generator needs to be stored."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_val_loss: float | None = None
    best_step: int | None = None
    logged: int = 0
    """Lines written to metrics.jsonl."""
    skipped: int = 0
    """Steps that did not change the weights because the loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    loss_mean: float = 0.0
    """Running mean of the recent losses. With ``loss_variance`` it decides what counts as a spike."""
    loss_variance: float = 0.0


def write_checkpoint(
    directory: Path,
    name: str,
    model: LanguageModel,
    optimizer: Optimizer,
    progress: Progress,
    average: WeightAverage | None = None,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Writes ``directory / name``, which must not exist. It appears complete or, if anything fails, not at all.

    ``average``: the model's averaged weights, which become those of the checkpoint. ``state``: what the optimizer's
    ``state_dict`` would give, if other processes have parts of its state.
    """
    state = optimizer.state_dict() if state is None else state
    with nullcontext() if average is None else average.exchanged():
        trained = {} if average is None else _trained(model, average)
        return _write_checkpoint(directory, name, model, optimizer, progress, trained, state)


def _write_checkpoint(
    directory: Path,
    name: str,
    model: LanguageModel,
    optimizer: Optimizer,
    progress: Progress,
    trained: Mapping[str, Array],
    state: Mapping[str, Any],
) -> Path:
    temporary = directory / f".{name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir()
        moments = {
            f"{kind}.{parameter}": array
            for index, parameter in enumerate(_optimized_names(model, optimizer))
            for kind, array in state["state"].get(index, {}).items()
            if kind != "step"
        }
        steps = {str(index): values["step"] for index, values in state["state"].items()}
        files = {}
        contents: dict[str, Callable[[], bytes]] = {  # functions, as each content may be large and only one is held
            MODEL: lambda: weights_bytes(model.stored_state(), model.config),
            OPTIMIZER: lambda: safetensors_bytes({**moments, **trained}),
        }
        for file, make in contents.items():
            content = make()
            files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            write_flushed(temporary / file, content)
        described = {
            "version": CHECKPOINT_VERSION,
            "progress": asdict(progress),
            "optimizer_steps": steps,
            "files": files,
        }
        described["sha256"] = sha256_of_json(described)
        write_flushed(temporary / STATE, (json.dumps(described, indent=2) + "\n").encode())
        flush_directory(temporary)
        os.rename(temporary, directory / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_directory(directory)
    return directory / name


def read_progress(checkpoint: Path) -> Progress:
    """The progress stored in a checkpoint. Raises DamagedError if any file of the checkpoint is damaged."""
    return _progress(checkpoint, read_state(checkpoint))


def load_model(checkpoint: Path, config: GPTConfig) -> LanguageModel:
    """A model with a checkpoint's weights, in evaluation mode.

    Raises DamagedError if a file of the checkpoint is damaged, InputError if the weights are of another model.
    """
    read_state(checkpoint, (OPTIMIZER,))  # a checkpoint is intact as a whole
    return load_checkpoint_of_run(checkpoint, config)


def load_weights(checkpoint: Path, model: LanguageModel) -> None:
    """Copies a checkpoint's weights into a model. Raises InputError if they do not fit or are damaged."""
    arrays, config = read_weights(checkpoint / MODEL)
    if config is not None:
        check_is_of(config, model.config, checkpoint / MODEL)
    fill(model, arrays, checkpoint / MODEL)


def load_checkpoint(
    checkpoint: Path,
    state: Mapping[str, Any],
    model: LanguageModel,
    optimizer: Optimizer,
    average: WeightAverage | None = None,
) -> Progress:
    """Loads a checkpoint into a model, its optimizer and its averaged weights, and returns its progress.

    ``state`` comes from ``read_state``, which has checked all hashes. Raises InputError if the checkpoint does not fit.
    """
    progress = _progress(checkpoint, state)
    arrays = load(checkpoint / OPTIMIZER)
    try:
        steps = {int(index): step for index, step in state["optimizer_steps"].items()}
        if any(type(step) is not int or not 0 < step <= progress.step for step in steps.values()):
            raise ValueError(f"the optimizer's steps in {STATE} do not fit the run's step")
        groups = optimizer.state_dict()["param_groups"]
        moments: dict[int, dict[str, Any]] = {index: {"step": step} for index, step in steps.items()}
        indices = {name: index for index, name in enumerate(_optimized_names(model, optimizer))}
        trained = [] if average is None else [(own, arrays.pop(name)) for name, own in _trained(model, average).items()]
        for own, found in trained:
            if found.shape != own.shape or found.dtype != own.dtype:
                raise ValueError(f"a weight of training has shape {found.shape} and dtype {found.dtype}")
        for key, array in arrays.items():
            kind, name = key.split(".", 1)
            moments[indices[name]][kind] = array
        load_weights(checkpoint, model)
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if average is not None:
            for own, found in trained:
                own[...] = found
            average.exchange()
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {error}") from None
    return progress


def _progress(checkpoint: Path, state: Mapping[str, Any]) -> Progress:
    try:
        progress = dataclass_from_json(Progress, state.get("progress"))
    except ValueError as error:
        raise DamagedError(f"{checkpoint} is damaged: the progress in {STATE}: {error}") from None
    counts = 0 <= progress.skipped_in_a_row <= progress.skipped <= progress.step <= progress.tokens
    if not counts or progress.logged < 0 or progress.loss_variance < 0:
        raise DamagedError(f"{checkpoint} is damaged: the counts in {STATE} contradict one another")
    return progress


def _optimized_names(model: LanguageModel, optimizer: Optimizer) -> list[str]:
    names = {id(parameter): model.stored_name(name) for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _trained(model: LanguageModel, average: WeightAverage) -> dict[str, Array]:
    """Views of ``average.values``, which holds the weights of training while the model has the averaged ones."""
    names = {id(parameter): model.stored_name(name) for name, parameter in model.named_parameters()}
    return {f"{_TRAINED}.{names[id(part.parameter)]}": part.of(average.values) for part in model.arena.parts}
