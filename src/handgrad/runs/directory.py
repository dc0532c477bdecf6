"""The directory of a run: its settings, its metrics and its checkpoints."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handgrad.data import Baselines, TokenData, baselines_of, open_token_files, write_token_files
from handgrad.models import GPTConfig, LanguageModel
from handgrad.models.formats.model_in_checkpoint import RUN_VERSION, read_run_config
from handgrad.models.formats.weights import config_from
from handgrad.runs.agreement import check_agrees
from handgrad.runs.before_shards import environment_in
from handgrad.runs.checkpoint import load_model
from handgrad.runs.config import TrainConfig
from handgrad.runs.environment import Environment
from handgrad.runs.new_directory import check_is_free, is_unfinished, making_directory
from handgrad.runs.retention import load_intact
from handgrad.runs.tensorboard import check_can_write_events
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import read_json, write_json
from handgrad.tokenizers import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    path: Path
    config: TrainConfig
    model_config: GPTConfig
    data_directory: Path
    corpus_sha256: str
    tokenizer_sha256: str
    ids_sha256: tuple[str, str] | None
    """The hashes of the ids of both parts; None if the run is older than they are."""
    environment: Environment
    """What its bits depend on, from when it started or from the last inexact resume that was allowed."""
    init_from: Path | None
    """The checkpoint that the initial weights come from; None for new weights."""
    baselines: Baselines | None
    """Losses that the model should beat; None in runs that were started before they were computed."""
    documents: str | None = None
    """What a document is if the text has several; empty if it has one; None in runs that do not store it."""
    begins: tuple[int, ...] = ()
    """The ids that the training text begins with; empty in runs that do not store them."""
    outdated: str | None = None
    """Why this version computes other bits than the one that began the run; None if it does not."""

    @property
    def shards(self) -> int:
        """The parts into which each batch is cut."""
        return self.environment.shards

    def differences_here(self) -> list[str]:
        """Why the run would not continue bit for bit in this process, in words; empty if it would."""
        first = [] if self.outdated is None else [self.outdated]
        return first + self.environment.differences(Environment.here(self.shards))

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curves_path(self) -> Path:
        return self.path / "curves.png"

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with. Raises InputError if the file is damaged or another's."""
        tokenizer = load_tokenizer(self.path / "tokenizer.json")
        if (tokenizer.sha256, tokenizer.vocab_size) != (self.tokenizer_sha256, self.model_config.vocab_size):
            raise InputError(f"{self.path / 'tokenizer.json'} is not the tokenizer that {self.path} began with")
        return tokenizer

    def data(self) -> TokenData:
        """The token files that the model is trained on. Raises InputError if they have been moved or replaced."""
        if not self.data_directory.exists():
            raise InputError(
                f"{self.data_directory}, the token files of {self.path}, is not there; if they have moved, say where "
                f"with train --resume {self.path} --data DIR"
            )
        data = open_token_files(self.data_directory)
        meta = data.meta
        same = (meta.corpus_sha256, meta.tokenizer_sha256) == (self.corpus_sha256, self.tokenizer_sha256)
        ids = zip(self.ids_sha256 or (), (meta.train_sha256, meta.validation_sha256), strict=False)
        if not same or any(began != now for began, now in ids if began and now):  # older files have no hashes
            raise InputError(
                f"{self.data_directory} no longer holds the text and tokenizer that {self.path} began with"
            )
        return data

    @property
    def has_documents(self) -> bool:
        """Whether the text consists of several documents with a token between them.

        Runs that do not store it are asked for their token files; without these it is False.
        """
        if self.documents is not None:
            return bool(self.documents)
        try:
            return bool(self.data().documents)
        except (InputError, OSError):
            return False

    def with_data_at(self, directory: Path) -> "Run":
        """The same run with its token files in another place. ``data`` checks them, ``resumed`` saves the place."""
        inside = self.path / "data"
        place = directory.resolve()
        return replace(self, data_directory=inside if place == inside.resolve() else place)

    def model(self, wanted: str, notice: Callable[[str], None] = lambda sentence: None) -> tuple[LanguageModel, Path]:
        """The model in ``best``, ``last`` or a checkpoint by its name, and the checkpoint that it came from.

        If ``best`` or ``last`` is damaged, another checkpoint is used, and ``notice`` is called with a sentence. Raises
        InputError if no checkpoint is intact, or if one that was requested by its name is damaged.
        """
        return load_intact(self.path, wanted, lambda checkpoint: load_model(checkpoint, self.model_config), notice)


def next_free(parent: Path, stem: str) -> Path:
    """The first of stem-1, stem-2, … that does not exist in ``parent``."""
    number = 1
    while os.path.lexists(parent / f"{stem}-{number}"):  # a link to nowhere takes a name too
        number += 1
    return parent / f"{stem}-{number}"


@contextlib.contextmanager
def taking_next_free(parent: Path, stem: str) -> Iterator[Path]:
    """Makes the first of stem-1, stem-2, … that does not exist, so that no other process takes it.

    An exception removes it, and the parent if that is new, if they are still empty.
    """
    existed = parent.exists()
    while True:
        parent.mkdir(parents=True, exist_ok=True)
        path = next_free(parent, stem)
        try:
            path.mkdir()
            break
        except (FileExistsError, FileNotFoundError):  # another process was faster, or removed the parent
            continue
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):
            path.rmdir()
            if not existed:
                parent.rmdir()
        raise


def create_run(
    path: Path,
    config: TrainConfig,
    data: TokenData,
    data_directory: Path | None,
    shards: int,
    init_from: Path | None,
    choose_length: Callable[[Path], TrainConfig] | None = None,
) -> Run:
    """Makes the directory of a new run. The tokens are written into it, unless a ``data_directory`` has them already.

    config.json is written last: a directory without one is not a run.

    ``choose_length`` is called with the directory while it is being made, and returns ``config`` with the length of the
    run and what follows from it. It may write into the directory, and must remove what it wrote.

    Raises InputError if something is there already, if another process is making a run there, or if settings contradict
    each other.
    """
    check_is_free(path)
    check_agrees(config)
    check_can_write_events(config)
    if data_directory is not None and data_directory.resolve().is_relative_to(path.resolve()):
        raise InputError(f"the token files in {data_directory} cannot be inside the run's own directory, {path}")
    model_config = config.model_config(data.tokenizer.vocab_size)
    content: dict[str, Any] = {
        "format": "handgrad-run",
        "version": RUN_VERSION,
        "config": {},  # below
        "model": asdict(model_config),
        "data": {
            "directory": "data" if data_directory is None else str(data_directory.resolve()),
            "source": data.meta.source,
            "corpus_sha256": data.meta.corpus_sha256,
            "tokenizer_sha256": data.meta.tokenizer_sha256,
            "ids_sha256": [data.meta.train_sha256, data.meta.validation_sha256],
            "documents": data.documents,
            "begins": data.begins,
        },
        "init_from": None if init_from is None else str(init_from.resolve()),
        "baselines": None if (baselines := baselines_of(data)) is None else asdict(baselines),
        "resolved": asdict(Environment.here(shards)),
    }
    with making_directory(path):
        if choose_length is not None:
            config = choose_length(path)
            check_agrees(config)
        content["config"] = asdict(config)
        if data_directory is None:
            write_token_files(path / "data", data)
        data.tokenizer.save(path / "tokenizer.json")
        (path / "metrics.jsonl").touch()
        write_json(path / "config.json", content)
    return open_run(path)


def open_run(path: Path) -> Run:
    """The run in a directory. Raises InputError if there is none."""
    if not path.is_dir():
        raise InputError(f"{path} is not a run: there is no such directory")
    if not (path / "config.json").is_file():
        if is_unfinished(path):
            raise InputError(f"{path} is not a run yet: it was cut off before its first step; start again with --out")
        raise InputError(f"{path} is not a run: it has no config.json; give the directory that train --out made")
    content = read_run_config(path)
    baselines = content.get("baselines")
    try:
        config = TrainConfig.stored(content["config"], str(path / "config.json"))
        model_config = config_from(content["model"])
        if model_config != config.model_config(model_config.vocab_size):
            raise ValueError("its model does not match its config")
        environment, outdated = environment_in(content["resolved"], config)
        return Run(
            path=path,
            config=config,
            model_config=model_config,
            data_directory=path / content["data"]["directory"],
            corpus_sha256=content["data"]["corpus_sha256"],
            tokenizer_sha256=content["data"]["tokenizer_sha256"],
            ids_sha256=_ids_sha256(content["data"].get("ids_sha256")),
            environment=environment,
            init_from=None if content["init_from"] is None else Path(content["init_from"]),
            baselines=None if baselines is None else dataclass_from_json(Baselines, baselines),
            documents=_documents_in(content["data"]),
            begins=_ids_in(content["data"], model_config.vocab_size),
            outdated=outdated,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path / 'config.json'} is damaged: {error}") from None


def _documents_in(data: dict[str, Any]) -> str | None:
    """Raises ValueError for a value that is not a string."""
    documents = data.get("documents")
    if not isinstance(documents, str | None):
        raise ValueError(f"documents must be a string, not {str(documents)[:80]!r}")
    return documents


def _ids_in(data: dict[str, Any], vocab_size: int) -> tuple[int, ...]:
    """Raises ValueError if ``begins`` is not a list of ids of the vocabulary."""
    begins = data.get("begins", [])
    if not isinstance(begins, list) or not all(type(number) is int and 0 <= number < vocab_size for number in begins):
        raise ValueError(f"begins must be a list of ids below {vocab_size}, not {str(begins)[:80]!r}")
    return tuple(begins)


def _ids_sha256(value: Any) -> tuple[str, str] | None:
    if value is None:
        return None
    train, validation = value
    if not (isinstance(train, str) and isinstance(validation, str)):
        raise ValueError("ids_sha256 must be two hashes")
    return train, validation


def save_settings(run: Run, config: TrainConfig, environment: Environment, note: dict[str, Any] | None = None) -> Run:
    """Replaces the settings of a run, what its bits depend on and the place of its data, as a resume changed them.

    ``note`` is added to the notes of earlier resumes that were not bit-exact.
    """
    content: dict[str, Any] = read_json(run.path / "config.json")
    content |= {"config": asdict(config), "resolved": asdict(environment)}
    inside = run.data_directory == run.path / "data"
    content["data"] = {**content["data"], "directory": "data" if inside else str(run.data_directory)}
    if note is not None:
        earlier = content.get("inexact")
        content["inexact"] = [*(earlier if isinstance(earlier, list) else []), note]
    write_json(run.path / "config.json", content)
    return replace(run, config=config, environment=environment, outdated=None)
