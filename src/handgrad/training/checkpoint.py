"""One checkpoint: a directory that is written under a temporary name, flushed, and renamed once; checked when read.

``state.json`` holds how far the run had come, the sizes and SHA-256 of the two files of arrays, and its own SHA-256.
Nothing in a checkpoint is ever run, and no name in it leads anywhere.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from handgrad.arrays import Array
from handgrad.errors import InputError
from handgrad.files import flush_directory, read_json, write_flushed
from handgrad.models import GPT, GPTConfig, gpt2_name
from handgrad.optim import Optimizer
from handgrad.records import record
from handgrad.saving import load

FORMAT_VERSION = 2
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_HEADER = 1 << 20
"""Bytes that the names and shapes of a model's arrays may take."""


class DamagedError(InputError):
    """A checkpoint is not as it was written."""


@dataclass
class Progress:
    """How far a run has come. Batches and dropout are drawn from (seed, step), so there is no more to remember."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_val_loss: float | None = None
    best_step: int | None = None
    logged: int = 0
    """Lines of metrics.jsonl."""
    skipped: int = 0
    """Steps whose loss or gradient was not finite, so that the weights were left alone."""
    skipped_in_a_row: int = 0
    loss_mean: float = 0.0
    """Of the last steps' losses, as is the variance: what a spike is measured by."""
    loss_variance: float = 0.0


def write_checkpoint(directory: Path, name: str, model: GPT, optimizer: Optimizer, progress: Progress) -> Path:
    """Writes ``directory / name``, which must not exist: it appears whole or, where anything goes wrong, not at all."""
    temporary = directory / f".{name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir()
        weights, state = _weights(model), optimizer.state_dict()
        moments = {
            f"{kind}.{parameter}": array
            for index, parameter in enumerate(_optimized_names(model, optimizer))
            for kind, array in state["state"].get(index, {}).items()
            if kind != "step"
        }
        steps = {str(index): values["step"] for index, values in state["state"].items()}
        files = {}
        for file, arrays in ((MODEL, weights), (OPTIMIZER, moments)):
            content = safetensors.numpy.save(arrays, {"format": "np"})
            files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            write_flushed(temporary / file, content)
        described = {
            "version": FORMAT_VERSION,
            "progress": asdict(progress),
            "optimizer_steps": steps,
            "files": files,
        }
        described["sha256"] = _hash_of(described)
        write_flushed(temporary / STATE, (json.dumps(described, indent=2) + "\n").encode())
        flush_directory(temporary)
        os.rename(temporary, directory / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_directory(directory)
    return directory / name


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What state.json holds. Raises DamagedError where it is not what was written, or the files beside it are not."""
    if checkpoint.is_symlink():
        raise DamagedError(f"{checkpoint} is damaged: it is a link, and no directory of this run")
    _check_is_a_file(checkpoint / STATE)
    try:
        state = read_json(checkpoint / STATE)
    except InputError as error:
        raise DamagedError(f"{checkpoint} is damaged: {error}") from None
    if state.get("version") == 1:
        raise InputError(f"{checkpoint / STATE} is of version 1, which had no hashes; only {FORMAT_VERSION} is read")
    if state.pop("sha256", None) != _hash_of(state):
        raise DamagedError(f"{checkpoint} is damaged: {STATE} does not have the SHA-256 that it names")
    if state.get("version") != FORMAT_VERSION:
        raise InputError(
            f"{checkpoint / STATE} is of version {state.get('version')}; only {FORMAT_VERSION} is read here"
        )
    try:
        files = {name: (state["files"][name]["bytes"], state["files"][name]["sha256"]) for name in (MODEL, OPTIMIZER)}
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {STATE} says nothing of {error}") from None
    for name, (size, sha256) in files.items():
        path = checkpoint / name
        _check_is_a_file(path)
        if path.stat().st_size != size:
            raise DamagedError(f"{checkpoint} is damaged: {name} has {path.stat().st_size:,} bytes, not {size:,}")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise DamagedError(f"{checkpoint} is damaged: {name} does not have the SHA-256 that {STATE} names")
    return state


def read_progress(checkpoint: Path) -> Progress:
    """How far a checkpoint had come. Raises DamagedError where it does not say so, or is damaged elsewhere."""
    return _progress(checkpoint, read_state(checkpoint))


def load_model(checkpoint: Path, config: GPTConfig) -> GPT:
    """A model with a checkpoint's weights, out of training. Raises InputError where they do not fit or are damaged."""
    read_state(checkpoint)
    check_size(checkpoint, config)
    model = GPT(config)
    load_weights(checkpoint, model)
    return model.eval()


def check_size(checkpoint: Path, config: GPTConfig) -> None:
    """Raises InputError where the file of weights is too small or too large for a model of this shape.

    It is asked before such a model is made: the shape in a damaged config.json may be larger than memory.
    """
    size, needed = (checkpoint / MODEL).stat().st_size, 4 * config.n_parameters
    if not needed <= size <= needed + _HEADER:
        raise InputError(
            f"{checkpoint / MODEL} has {size:,} bytes; the model that the run's config.json describes, with "
            f"{config.n_parameters:,} parameters, takes {needed:,} and a little more"
        )


def load_weights(checkpoint: Path, model: GPT) -> None:
    """Copies a checkpoint's weights into a model. Raises InputError where they do not fit or are damaged."""
    arrays = load(checkpoint / MODEL)
    own = {gpt2_name(name): name for name, _ in model.named_parameters()}
    try:
        model.load_state_dict({own.get(name, name): array for name, array in arrays.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{checkpoint / MODEL} does not fit the run's model: {error}") from None


def load_checkpoint(checkpoint: Path, state: Mapping[str, Any], model: GPT, optimizer: Optimizer) -> Progress:
    """Puts model and optimizer into the state of the checkpoint and returns how far it had come.

    ``state`` is what ``read_state`` found, which has looked at all hashes. Raises InputError where it does not fit.
    """
    progress = _progress(checkpoint, state)
    arrays = load(checkpoint / OPTIMIZER)
    try:
        steps = {int(index): step for index, step in state["optimizer_steps"].items()}
        if any(type(step) is not int or not 0 < step <= progress.step for step in steps.values()):
            raise ValueError(f"the optimizer cannot have made the steps that {STATE} names")
        groups = optimizer.state_dict()["param_groups"]
        moments: dict[int, dict[str, Any]] = {index: {"step": step} for index, step in steps.items()}
        indices = {name: index for index, name in enumerate(_optimized_names(model, optimizer))}
        for key, array in arrays.items():
            kind, name = key.split(".", 1)
            moments[indices[name]][kind] = array
        load_weights(checkpoint, model)
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {error}") from None
    return progress


def _progress(checkpoint: Path, state: Mapping[str, Any]) -> Progress:
    try:
        progress = record(Progress, state.get("progress"))
    except ValueError as error:
        raise DamagedError(f"{checkpoint} is damaged: of the progress in {STATE}, {error}") from None
    counts = 0 <= progress.skipped_in_a_row <= progress.skipped <= progress.step <= progress.tokens
    if not counts or progress.logged < 0 or progress.loss_variance < 0:
        raise DamagedError(f"{checkpoint} is damaged: the progress in {STATE} cannot be")
    return progress


def _check_is_a_file(path: Path) -> None:
    """A link could lead out of the checkpoint, and a pipe would never end. Raises DamagedError for anything such."""
    try:
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{path.parent} is damaged: it has no {path.name}") from None
    if not stat.S_ISREG(kind):
        raise DamagedError(f"{path.parent} is damaged: {path.name} is no file of its own")


def _hash_of(state: Mapping[str, Any]) -> str:
    """Of the values, however they are laid out."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _weights(model: GPT) -> dict[str, Array]:
    return {gpt2_name(name): np.ascontiguousarray(parameter.data) for name, parameter in model.named_parameters()}


def _optimized_names(model: GPT, optimizer: Optimizer) -> list[str]:
    names = {id(parameter): gpt2_name(name) for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
