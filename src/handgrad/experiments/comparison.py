"""A comparison on disk: a text, and a run for each of its entries, which have other settings or another tokenizer."""

from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from handgrad.data import Corpus, TokenData, encode_corpus, load_text
from handgrad.experiments.budget import Budget
from handgrad.runs import (
    Run,
    TrainConfig,
    check_agrees,
    check_can_write_events,
    check_is_free,
    choose_shards,
    create_run,
    is_unfinished,
    load_intact,
    making_directory,
    open_run,
    read_metrics,
    read_progress,
)
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import check_is_no_link, read_json, write_atomically, write_json
from handgrad.tokenizers import Tokenizer
from handgrad.training import check_fits_memory

FORMAT_VERSION = 1
MOST_STEPS = 1 << 53


class Entry(Protocol):
    """A run of a comparison, and how long its model is trained: the budget, and the same in steps."""

    @property
    def name(self) -> str: ...
    @property
    def budget(self) -> Budget: ...
    @property
    def steps(self) -> int: ...


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Comparison(ABC, Generic[E]):
    """One text, the settings that its runs share, and an entry for each run."""

    path: Path
    source: str
    """Where the text came from; the directory holds a copy, ``text.txt``."""
    corpus_sha256: str
    config: TrainConfig
    entries: tuple[E, ...]

    @abstractmethod
    def config_of(self, entry: E) -> TrainConfig:
        """The settings of one run."""

    @abstractmethod
    def untrained(self, entry: E) -> Tokenizer:
        """The tokenizer of one run before it learns its vocabulary."""

    @abstractmethod
    def made(self, entry: E, tokenizer: Tokenizer) -> bool:
        """Whether a trained tokenizer can be that of an entry."""

    @abstractmethod
    def head_of_results(self) -> dict[str, Any]:
        """The part of results.json that names the comparison."""

    def run_path(self, entry: E) -> Path:
        return self.path / "runs" / entry.name

    def corpus(self) -> Corpus:
        """The text. Raises InputError if it has changed since the comparison began."""
        corpus = replace(load_text(self.path / "text.txt"), source=self.source)
        if corpus.sha256 != self.corpus_sha256:
            raise InputError(f"{self.path / 'text.txt'} is not the text that {self.path} began with")
        return corpus

    def run(self, entry: E) -> Run:
        """The run of one entry, which is laid out if it does not exist yet.

        Raises InputError if the directory holds something else, or a run with other settings, another tokenizer or
        another text.
        """
        path, config = self.run_path(entry), self.config_of(entry)
        check_is_no_link(path)
        if not (path / "config.json").is_file():
            if path.exists() and any(path.iterdir()) and not is_unfinished(path):
                raise InputError(f"{path} is no run: it has no config.json; move it away to train it again")
            data = encoded_with(self.corpus(), self.untrained(entry), config)
            return create_run(path, config, data, None, shards_for(config), None)
        run = open_run(path)
        if (run.config, run.corpus_sha256) != (config, self.corpus_sha256) or not self.made(entry, run.tokenizer()):
            raise InputError(
                f"{path} is a run with other settings, another tokenizer or another text than {self.path} compares; "
                "move it away to train it again"
            )
        return run

    def is_done(self, entry: E) -> bool:
        """Whether a run has made all its steps, according to its metrics and checkpoints."""
        path, read_once = self.run_path(entry), cache(read_progress)  # last and best may be the same checkpoint
        try:
            last, best = (load_intact(path, wanted, read_once)[0] for wanted in ("last", "best"))
            rows = read_metrics(path / "metrics.jsonl")
        except (InputError, OSError):
            return False  # training then reports the damage, and repairs what it can
        return bool(rows) and min(last.step, rows[-1]["step"]) >= entry.steps and best.step == last.best_step


def encoded_with(corpus: Corpus, tokenizer: Tokenizer, config: TrainConfig) -> TokenData:
    """The text in the tokens of a tokenizer, which first learns its vocabulary from the training part."""
    data = encode_corpus(corpus, tokenizer.train(corpus.split()[0]))
    data.check_length(config.block_size, config.boundaries)
    return data


def shards_for(config: TrainConfig) -> int:
    """The number that ``train`` chooses."""
    return choose_shards(config.shards, config.batch_size)


def check_can_be_compared(path: Path, config: TrainConfig, what: str, why_whole: str) -> None:
    """Raises InputError if no comparison can be made at ``path``, or if the settings cannot compare ``what``.

    ``why_whole``: why an evaluation must be over the whole text.
    """
    check_is_free(path)
    check_agrees(config)
    check_can_write_events(config)
    if config.eval_batches:
        raise InputError(f"eval_batches must be 0 to compare {what}, not {config.eval_batches}: {why_whole}")


def steps_of(name: str, budget: Budget, config: TrainConfig, data: TokenData) -> int:
    """The steps of a run. Raises InputError if they are too many, or if the model is larger than memory."""
    check_fits_memory(config, config.model_config(data.tokenizer.vocab_size), shards_for(config))
    steps = budget.steps(config, data)
    if steps >= MOST_STEPS:
        raise InputError(f"{name}: {budget} are {steps:,} steps; there can be {MOST_STEPS - 1:,} at most")
    return steps


def described(name: str, budget: Budget, steps: int, config: TrainConfig, data: TokenData) -> str:
    """A run in one line."""
    tokens = steps * config.batch_size * config.block_size * config.grad_accum_steps
    characters = tokens * data.meta.train_characters / data.meta.train_tokens
    parameters = config.model_config(data.tokenizer.vocab_size).n_parameters
    asked = "" if budget.unit == "steps" else f"{budget}: "
    return (
        f"{name}: {asked}{steps:,} steps, {tokens:,} tokens, {characters:,.0f} characters; "
        f"{parameters:,} parameters, vocabulary of {data.tokenizer.vocab_size:,} tokens"
    )


def unusual(name: str, steps: int, config: TrainConfig) -> list[str]:
    """A sentence if the warm-up is as long as the run."""
    if config.warmup_steps < steps:
        return []
    return [f"{name}: warmup_steps is {config.warmup_steps:,}, so the learning rate never reaches lr"]


def lay_out(comparison: Comparison[Any], corpus: Corpus, content: Mapping[str, Any]) -> None:
    """Makes the directory of a comparison, without its runs. ``content`` goes into comparison.json."""
    text = corpus.text.encode()
    with making_directory(comparison.path):
        (comparison.path / "runs").mkdir()
        # Reading a file drops one byte order mark, so a text that starts with a mark needs a second one.
        write_atomically(comparison.path / "text.txt", BOM_UTF8 + text if text.startswith(BOM_UTF8) else text)
        write_json(comparison.path / "comparison.json", content)  # last: without it there is no comparison


def content_of(comparison: Comparison[Any], kind: str) -> dict[str, Any]:
    """What every comparison.json begins with."""
    return {
        "format": kind,
        "version": FORMAT_VERSION,
        "text": {"source": comparison.source, "sha256": comparison.corpus_sha256},
        "config": asdict(comparison.config),
    }


def read_comparison_file(path: Path) -> dict[str, Any]:
    """The content of comparison.json in a directory. Raises InputError if there is none."""
    file = path / "comparison.json"
    if not file.is_file():
        if is_unfinished(path):
            raise InputError(f"{path} is no comparison yet: it was cut off at its beginning; begin again with --out")
        raise InputError(f"{path} is no comparison: it has no comparison.json; give what compare --out made")
    return read_json(file)


def shared_fields(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every comparison has, without its entries. Raises KeyError and the like if they are damaged."""
    return {
        "path": path,
        "source": text_in(content["text"]["source"]),
        "corpus_sha256": text_in(content["text"]["sha256"]),
        "config": TrainConfig.stored(content["config"], str(path / "comparison.json")),
    }


def length_in(value: Mapping[str, Any]) -> tuple[Budget, int]:
    """The budget and the steps of an entry. Raises ValueError and the like if they are damaged."""
    steps, budget = value["steps"], value["budget"]
    if type(steps) is not int or not 0 < steps < MOST_STEPS:
        raise ValueError(f"steps must be a number of steps, not {str(steps)[:80]}")
    unit = text_in(budget["unit"])
    others = {name: item for name, item in budget.items() if name != "unit"}
    return dataclass_from_json(Budget, others, unit=unit), steps


def check_names(entries: Sequence[Entry]) -> None:
    """Raises ValueError if there is no entry, or if two have the same name."""
    if not entries:
        raise ValueError("entries must be a list of at least one")
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("the entries have a name twice")


def list_in(values: Any) -> list[Any]:
    """Raises ValueError if it is no list."""
    if not isinstance(values, list):
        raise ValueError(f"{str(values)[:80]!r} should be a list")
    return values


def text_in(value: Any) -> str:
    """Raises ValueError if it is no text."""
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r} should be a text")
    return value
