"""The directory of a run: what was asked for, what was measured, and the checkpoints."""

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from handgrad import __version__
from handgrad.backend import current_backend
from handgrad.data import TokenData, open_token_files, write_token_files
from handgrad.errors import InputError
from handgrad.files import check_new_or_empty, read_json, write_json
from handgrad.models import GPTConfig
from handgrad.tokenizers import Tokenizer, load_tokenizer
from handgrad.training.config import TrainConfig
from handgrad.training.presets import PRESETS

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Run:
    """A run as it lies on the disk."""

    path: Path
    config: TrainConfig
    model_config: GPTConfig
    data_directory: Path
    corpus_sha256: str
    tokenizer_sha256: str
    replicas: int
    backend: str
    init_from: Path | None
    """The checkpoint that the first weights come from; None for new ones."""

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curves_path(self) -> Path:
        return self.path / "curves.png"

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with."""
        return load_tokenizer(self.path / "tokenizer.json")

    def data(self) -> TokenData:
        """The token files that the model is trained on. Raises InputError where they are no longer those."""
        data = open_token_files(self.data_directory)
        if (data.meta.corpus_sha256, data.meta.tokenizer_sha256) != (self.corpus_sha256, self.tokenizer_sha256):
            raise InputError(
                f"{self.data_directory} no longer holds the text and tokenizer that {self.path} began with"
            )
        return data


def check_is_free(path: Path) -> None:
    """Raises InputError where a new run cannot be put there because something is there already."""
    if (path / "config.json").exists():
        raise InputError(f"{path} already holds a run: continue it with --resume {path}, or choose another --out")
    check_new_or_empty(path)


def next_free(parent: Path, stem: str) -> Path:
    """The first of stem-1, stem-2, … that does not exist in ``parent``."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


def create_run(
    path: Path, config: TrainConfig, data: TokenData, data_directory: Path | None, replicas: int, init_from: Path | None
) -> Run:
    """Lays out a new run. The tokens are written into it, unless they lie in a ``data_directory`` already.

    config.json comes last: a directory without one is no run.
    """
    check_is_free(path)
    model_config = config.model_config(data.tokenizer.vocab_size)
    content = {
        "format": "handgrad-run",
        "version": FORMAT_VERSION,
        "config": asdict(config),
        "model": asdict(model_config),
        "data": {
            "directory": "data" if data_directory is None else str(data_directory.resolve()),
            "source": data.meta.source,
            "corpus_sha256": data.meta.corpus_sha256,
            "tokenizer_sha256": data.meta.tokenizer_sha256,
        },
        "init_from": None if init_from is None else str(init_from.resolve()),
        "resolved": {"replicas": replicas, "backend": current_backend(), "versions": _versions()},
    }
    existed = path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        if data_directory is None:
            write_token_files(path / "data", data)
        data.tokenizer.save(path / "tokenizer.json")
        (path / "metrics.jsonl").touch()
        write_json(path / "config.json", content)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        if existed:
            path.mkdir(exist_ok=True)  # it was empty, and not ours to take away
        raise
    return open_run(path)


def open_run(path: Path) -> Run:
    """The run in a directory. Raises InputError where there is none."""
    if not path.is_dir():
        raise InputError(f"{path} is not a run: there is no such directory")
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a run: it has no config.json; give the directory that train --out made")
    content = read_json(path / "config.json")
    if content.get("format") != "handgrad-run" or content.get("version") != FORMAT_VERSION:
        raise InputError(f"{path / 'config.json'} is not that of a handgrad run of version {FORMAT_VERSION}")
    try:
        config = PRESETS["quick"].updated(content["config"], str(path / "config.json"))
        model_config = GPTConfig(**content["model"])
        if model_config != config.model_config(model_config.vocab_size):
            raise ValueError("its model is not that of its config")
        replicas = content["resolved"]["replicas"]
        if type(replicas) is not int or replicas < 1:
            raise ValueError(f"replicas must be an integer of at least 1, not {replicas!r}")
        return Run(
            path=path,
            config=config,
            model_config=model_config,
            data_directory=path / content["data"]["directory"],
            corpus_sha256=content["data"]["corpus_sha256"],
            tokenizer_sha256=content["data"]["tokenizer_sha256"],
            replicas=replicas,
            backend=content["resolved"]["backend"],
            init_from=None if content["init_from"] is None else Path(content["init_from"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path / 'config.json'} is damaged: {error}") from None


def save_config(run: Run, config: TrainConfig) -> None:
    """Replaces the settings of a run, after a resume that changed some."""
    content: dict[str, Any] = read_json(run.path / "config.json")
    write_json(run.path / "config.json", {**content, "config": asdict(config)})


def _versions() -> dict[str, str]:
    libraries = installed_versions("numpy", "safetensors", "threadpoolctl", "numba")
    own = {"handgrad": __version__, "python": platform.python_version()}
    return own | libraries | {"system": f"{os.name} {platform.machine()}"}


def installed_versions(*packages: str) -> dict[str, str]:
    """The versions of those that are installed; a folder that can be imported by such a name is none of them."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
