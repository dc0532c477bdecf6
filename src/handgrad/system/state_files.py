"""State dictionaries as safetensors: written whole or not at all, read without running any code.

A flat dictionary of arrays becomes a plain safetensors file, which other programs can read. A nested state, such as an
optimizer's, is described in the file's metadata, in JSON.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import DamagedError, InputError
from handgrad.system.files import write_atomically

_KEY = "handgrad"
_MISSING = "weight files need safetensors, which is not installed: pip install safetensors"


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Writes arrays, Tensors, numbers, strings, booleans and None, and dictionaries, lists and tuples of these.

    Raises TypeError for anything else, before it writes; OSError if the file cannot be written; InputError if
    safetensors is not installed.
    """
    arrays: dict[str, Array] = {}
    described = _describe(state, "", arrays)
    is_flat = isinstance(state, dict) and set(arrays) == set(state)
    content = safetensors_bytes(arrays) if is_flat else safetensors_bytes(arrays, (_KEY, json.dumps(described)))
    write_atomically(Path(path), content)


def load(path: str | os.PathLike[str]) -> Any:
    """The state that ``save`` wrote, with NumPy arrays; for another program's safetensors file, a dictionary of arrays.

    Raises InputError if the file is missing or safetensors is not installed, DamagedError if the file is damaged.
    """
    arrays, metadata = read_safetensors(path)
    try:
        return _restore(json.loads(metadata[_KEY]), arrays.__getitem__) if _KEY in metadata else arrays
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None


def safetensors_bytes(arrays: Mapping[str, Array], metadata: tuple[str, str] = ("format", "np")) -> bytes:
    """The content of a safetensors file, with one entry of metadata: a name and a string.

    Only one, because safetensors writes several in any order, and the same arrays must give the same bytes.

    Raises InputError if safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise InputError(_MISSING) from None
    content: bytes = save(dict(arrays), dict([metadata]))
    return content


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a safetensors file, and its metadata.

    Raises InputError if the file is missing or safetensors is not installed, DamagedError if the file is damaged.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError(_MISSING) from None
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
            return arrays, file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None


def _describe(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """JSON in which an array is written as {"array": its name in ``arrays``}."""
    if isinstance(value, np.ndarray) or hasattr(value, "requires_grad"):
        while name in arrays:  # {"a.b": …} beside {"a": {"b": …}}
            name += "'"
        array = value if isinstance(value, np.ndarray) else value.data
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
        return {"array": name}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    prefix = f"{name}." if name else ""
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str | int) or isinstance(key, bool)]
        if wrong:
            raise TypeError(f"save: keys must be strings or integers, not {wrong[0]!r}")
        return {"dict": [[key, _describe(item, f"{prefix}{key}", arrays)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_describe(item, f"{prefix}{i}", arrays) for i, item in enumerate(value)]}
    raise TypeError(f"save: {name or 'the state'} is a {type(value).__name__}, which cannot be saved")


def _restore(described: Any, array: Callable[[str], Array]) -> Any:
    ((kind, content),) = described.items()
    if kind == "array":
        return array(content)
    if kind == "value":
        return content
    if kind == "dict":
        return {key: _restore(item, array) for key, item in content}
    if kind not in ("list", "tuple"):
        raise ValueError(f"its description holds the unknown kind {kind!r}")
    items = [_restore(item, array) for item in content]
    return tuple(items) if kind == "tuple" else items
