"""Reads the model from one of handgrad's own checkpoints, a directory of three files, and from its run.

``state.json`` holds the run's progress, the sizes and SHA-256 of the two files of arrays, and its own SHA-256.
``runs`` writes checkpoints; this file reads the part that a model needs.
"""

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handgrad.models.config import GPTConfig
from handgrad.models.formats.weights import config_from, read_weights
from handgrad.system.arrays import Array
from handgrad.system.errors import DamagedError, InputError
from handgrad.system.files import is_unreadable, naming, read_file, read_json

RUN_VERSION = 1
CHECKPOINT_VERSION = 2
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_HEADER = 1 << 20
"""Bytes that may be needed for the names and shapes of a model's arrays."""
_POINTER_BYTES = 1000


def read_model(checkpoint: Path) -> tuple[dict[str, Array], GPTConfig]:
    """The weights in a checkpoint, and the configuration of their model.

    Raises DamagedError if the file of weights is damaged, InputError if no file has the configuration.
    """
    read_state(checkpoint, (MODEL,))
    arrays, config = read_weights(checkpoint / MODEL)
    if config is None:  # old files of weights have no configuration; the run's config.json does
        config = config_of_run(checkpoint.absolute().parent.parent)
    return arrays, config


def config_of_run(run: Path) -> GPTConfig:
    """The model in a run's config.json. Raises InputError if the file belongs to no run or describes no model."""
    try:
        return config_from(read_run_config(run).get("model"))
    except InputError:
        raise
    except ValueError as error:
        path = run / "config.json"
        raise InputError(f"{path} is damaged or from a newer version: its description of the model: {error}") from None


def read_run_config(run: Path) -> dict[str, Any]:
    """The content of a run's config.json. Raises InputError if it belongs to no run, or to one of another version."""
    path = run / "config.json"
    content = read_json(path)
    if content.get("format") != "handgrad-run" or content.get("version") != RUN_VERSION:
        raise InputError(f"{path} does not belong to a handgrad run of version {RUN_VERSION}")
    return content


def last_checkpoint(run: Path) -> Path:
    """The checkpoint that a run's ``last`` names. Raises InputError if there is none."""
    name = read_pointer(run, "last")
    if name is None:
        raise InputError(f"{run} has no checkpoint yet")
    checkpoint = run / "checkpoints" / name
    if Path(name).name != name or not checkpoint.is_dir():
        raise InputError(f"{run / 'last'} names no checkpoint of {run}")
    return checkpoint


def read_pointer(run: Path, pointer: str) -> str | None:
    """The name of the checkpoint that ``last`` or ``best`` points at; None if there is none yet or it is damaged."""
    try:
        return read_file(run / pointer, _POINTER_BYTES).decode(errors="replace").strip() or None
    except InputError:
        return None
    except OSError as error:
        if not is_unreadable(error):
            raise
        return None


def read_state(checkpoint: Path, files: tuple[str, ...] = (MODEL, OPTIMIZER)) -> dict[str, Any]:
    """The content of state.json.

    Raises DamagedError if it or one of ``files`` is not as it was written, or cannot be read.
    """
    try:
        return _read_state(checkpoint, files)
    except OSError as error:
        raise damaged_by(error, checkpoint) from None


def damaged_by(error: OSError, checkpoint: Path) -> Exception:
    """What to raise for an error of the system while a checkpoint is read: DamagedError, if the file is at fault."""
    if not is_unreadable(error):
        return error
    name = Path(error.filename).name if error.filename else "a file"
    return DamagedError(f"{checkpoint} is damaged: {name} cannot be read: {error.strerror or error}")


def _read_state(checkpoint: Path, files: tuple[str, ...]) -> dict[str, Any]:
    if checkpoint.is_symlink():
        raise DamagedError(f"{checkpoint} is damaged: it is a link, not a directory of this run")
    _check_is_a_file(checkpoint / STATE)
    try:
        state = read_json(checkpoint / STATE)
    except InputError as error:
        raise DamagedError(f"{checkpoint} is damaged: {error}") from None
    if state.get("version") == 1:
        raise InputError(
            f"{checkpoint / STATE} has version 1, which has no hashes; only version {CHECKPOINT_VERSION} is supported"
        )
    if state.pop("sha256", None) != sha256_of_json(state):
        raise DamagedError(f"{checkpoint} is damaged: {STATE} does not match its own SHA-256")
    if state.get("version") != CHECKPOINT_VERSION:
        raise InputError(
            f"{checkpoint / STATE} has version {str(state.get('version'))[:80]}; only version {CHECKPOINT_VERSION} is "
            "supported"
        )
    for name in files:
        size, sha256 = _written(checkpoint, state, name)
        path = checkpoint / name
        _check_is_a_file(path)
        if path.stat().st_size != size:
            raise DamagedError(f"{checkpoint} is damaged: {name} has {path.stat().st_size:,} bytes, not {size:,}")
        with naming(path), path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise DamagedError(f"{checkpoint} is damaged: {name} does not match its SHA-256 in {STATE}")
    return state


def _written(checkpoint: Path, state: Mapping[str, Any], name: str) -> tuple[int, str]:
    """The size and the hash of a file, as state.json describes it. Raises DamagedError if it does not."""
    try:
        size, sha256 = state["files"][name]["bytes"], state["files"][name]["sha256"]
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {STATE} does not mention {error}") from None
    if type(size) is not int or size < 0 or not isinstance(sha256, str):
        raise DamagedError(f"{checkpoint} is damaged: {STATE} does not give the size and the SHA-256 of {name}")
    return size, sha256


def check_size(checkpoint: Path, config: GPTConfig) -> None:
    """Raises InputError if the file of weights is too small or too large for a model of this shape.

    Call it before the model is made: the shape in a damaged config.json may be larger than memory.
    """
    size, needed = (checkpoint / MODEL).stat().st_size, 4 * config.n_parameters
    if not needed <= size <= needed + _HEADER:
        raise InputError(
            f"{checkpoint / MODEL} has {size:,} bytes; the model that the run's config.json describes has "
            f"{config.n_parameters:,} parameters and takes {needed:,} bytes and a little more"
        )


def sha256_of_json(state: Mapping[str, Any]) -> str:
    """The SHA-256 of the values, independent of order and white space."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _check_is_a_file(path: Path) -> None:
    """Raises DamagedError for anything but a regular file: a link could lead elsewhere, a pipe would never end."""
    try:
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{path.parent} is damaged: it has no {path.name}") from None
    if not stat.S_ISREG(kind):
        raise DamagedError(f"{path.parent} is damaged: {path.name} is not a regular file")
