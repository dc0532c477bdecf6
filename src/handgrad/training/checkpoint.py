"""Checkpoints: written under a temporary name, flushed, renamed once; then a pointer is replaced."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from handgrad.arrays import Array
from handgrad.errors import InputError
from handgrad.files import flush_directory, read_json, write_atomically, write_flushed
from handgrad.models import GPT, GPTConfig, gpt2_name
from handgrad.optim import Optimizer
from handgrad.saving import load

POINTERS = ("last", "best")


@dataclass
class Progress:
    """How far a run has come. Batches and dropout are drawn from (seed, step), so there is no more to remember."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_val_loss: float | None = None
    best_step: int | None = None


def save_checkpoint(run: Path, model: GPT, optimizer: Optimizer, progress: Progress) -> str:
    """Writes a checkpoint, points ``last`` at it, and returns its name.

    Checkpoints that neither ``last`` nor ``best`` names are removed: one stays until its successor is safe.
    """
    directory = run / "checkpoints"
    directory.mkdir(exist_ok=True)
    name = _new_name(directory, progress.step)
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
        write_flushed(temporary / "model.safetensors", safetensors.numpy.save(weights, {"format": "np"}))
        write_flushed(temporary / "optimizer.safetensors", safetensors.numpy.save(moments, {"format": "np"}))
        described = {"version": 1, "progress": asdict(progress), "optimizer_steps": steps}
        write_flushed(temporary / "state.json", (json.dumps(described, indent=2) + "\n").encode())
        flush_directory(temporary)
        os.rename(temporary, directory / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_directory(directory)
    point(run, "last", name)
    return name


def point(run: Path, pointer: str, name: str) -> None:
    """Makes ``last`` or ``best`` name a checkpoint, in one step, and removes those that neither names now."""
    write_atomically(run / pointer, f"{name}\n".encode())
    named = {read_pointer(run, other) for other in POINTERS}
    for entry in (run / "checkpoints").iterdir():
        if entry.name not in named:
            shutil.rmtree(entry, ignore_errors=True)


def read_pointer(run: Path, pointer: str) -> str | None:
    """The name of the checkpoint that ``last`` or ``best`` points at; None before there is one."""
    try:
        return (run / pointer).read_text(encoding="utf-8", errors="replace").strip() or None
    except FileNotFoundError:
        return None


def newest_checkpoint(run: Path) -> str | None:
    """The name of the checkpoint with the most steps, where ``last`` is lost; each was renamed whole."""
    directory = run / "checkpoints"
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
    return max((name for name in names if not name.startswith(".")), default=None)


def read_progress(checkpoint: Path) -> Progress:
    """How far a checkpoint had come. Raises InputError where its state.json does not say so."""
    path = checkpoint / "state.json"
    values = read_json(path).get("progress")
    kinds = {
        "step": (int,),
        "tokens": (int,),
        "seconds": (int, float),
        "best_val_loss": (float, int, type(None)),
        "best_step": (int, type(None)),
    }
    if (
        not isinstance(values, dict)
        or set(values) != set(kinds)
        or any(type(values[name]) not in kind for name, kind in kinds.items())
        or not 0 <= values["step"] <= values["tokens"]
    ):
        raise InputError(f"{path} is damaged: its progress does not have the fields and types of version 1")
    return Progress(**values)


def find_checkpoint(run: Path, wanted: str = "best") -> Path:
    """The directory of ``best``, ``last`` or a checkpoint's own name.

    Where ``best`` is not there ``last`` serves, and where that is lost the newest.

    Raises InputError where there is none.
    """
    name: str | None = wanted
    if wanted in POINTERS:
        name = read_pointer(run, wanted) or read_pointer(run, "last") or newest_checkpoint(run)
    if name is None:
        raise InputError(f"{run} has no checkpoint yet")
    if Path(name).name != name or name.startswith(".") or not (run / "checkpoints" / name).is_dir():
        raise InputError(f"{run} has no checkpoint {name!r}")
    return run / "checkpoints" / name


def load_weights(checkpoint: Path, model: GPT) -> None:
    """Copies a checkpoint's weights into a model. Raises InputError where they do not fit or are damaged."""
    arrays = load(checkpoint / "model.safetensors")
    own = {gpt2_name(name): name for name, _ in model.named_parameters()}
    try:
        model.load_state_dict({own.get(name, name): array for name, array in arrays.items()})
    except ValueError as error:
        raise InputError(f"{checkpoint / 'model.safetensors'}: {error}") from None


def load_model(checkpoint: Path, config: GPTConfig) -> GPT:
    """A model with a checkpoint's weights, out of training."""
    model = GPT(config)
    load_weights(checkpoint, model)
    model.eval()
    return model


def load_checkpoint(checkpoint: Path, model: GPT, optimizer: Optimizer) -> Progress:
    """Puts model and optimizer into the state of the checkpoint and returns how far it had come."""
    state = read_json(checkpoint / "state.json")
    arrays = load(checkpoint / "optimizer.safetensors")
    try:
        progress = read_progress(checkpoint)
        steps = {int(index): int(step) for index, step in state["optimizer_steps"].items()}
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
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{checkpoint} is damaged: {error}") from None
    return progress


def _weights(model: GPT) -> dict[str, Array]:
    return {gpt2_name(name): np.ascontiguousarray(parameter.data) for name, parameter in model.named_parameters()}


def _optimized_names(model: GPT, optimizer: Optimizer) -> list[str]:
    names = {id(parameter): gpt2_name(name) for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _new_name(directory: Path, step: int) -> str:
    """step-00000500, or, where that exists, a name that never did."""
    name, number = f"step-{step:08d}", 1
    while (directory / name).exists():
        name, number = f"step-{step:08d}.{number}", number + 1
    return name
