"""A file of weights: safetensors, with the model's configuration in its metadata."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handgrad.models.config import GPTConfig
from handgrad.system.arrays import Array
from handgrad.system.dataclasses_from_json import check_names
from handgrad.system.errors import InputError
from handgrad.system.files import write_atomically
from handgrad.system.state_files import read_safetensors, safetensors_bytes

_CONFIG = "handgrad.model"


def weights_bytes(arrays: Mapping[str, Array], config: GPTConfig) -> bytes:
    """The content of a file with these arrays and the configuration of their model."""
    return safetensors_bytes(arrays, (_CONFIG, json.dumps(asdict(config))))


def write_weights(path: str | os.PathLike[str], arrays: Mapping[str, Array], config: GPTConfig) -> None:
    """Writes a file of weights, completely or not at all."""
    write_atomically(Path(path), weights_bytes(arrays, config))


def read_weights(path: Path) -> tuple[dict[str, Array], GPTConfig | None]:
    """The arrays in a file of weights, and its configuration; None if it has no configuration.

    Raises InputError if the file is missing or damaged, or if safetensors is not installed.
    """
    arrays, metadata = read_safetensors(path)
    if _CONFIG not in metadata:
        return arrays, None
    try:
        return arrays, config_from(json.loads(metadata[_CONFIG]))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged or from a newer version: its description of the model: {error}") from None


def config_from(described: Any) -> GPTConfig:
    """A configuration from JSON. Newer fields that are missing there have their defaults.

    Raises ValueError if it describes no model. Its message continues a sentence that begins with the file's name.
    """
    return GPTConfig(**check_names(GPTConfig, described))  # InputError is a ValueError
