"""A comparison as it lies on the disk: a text, a model's shape, and a run for each tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handgrad.data import Corpus, TokenData, encode_corpus, load_text
from handgrad.errors import InputError
from handgrad.experiments.budget import Budget
from handgrad.experiments.candidates import Candidate, candidate
from handgrad.files import check_new_or_empty, read_json, write_atomically, write_json
from handgrad.training import (
    PRESETS,
    Run,
    TrainConfig,
    check_fits_memory,
    choose_replicas,
    create_run,
    open_run,
)

FORMAT_VERSION = 1
_MOST_STEPS = 1 << 53
Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A tokenizer, and how long its model is trained: what was asked for, and the steps that this is."""

    candidate: Candidate
    budget: Budget
    steps: int

    @property
    def name(self) -> str:
        return self.candidate.name


@dataclass(frozen=True)
class Comparison:
    """One text and one model's shape under several tokenizers."""

    path: Path
    source: str
    """Where the text came from; it lies beside, as ``text.txt``."""
    corpus_sha256: str
    config: TrainConfig
    entries: tuple[Entry, ...]

    def run_path(self, entry: Entry) -> Path:
        return self.path / "runs" / entry.name

    def corpus(self) -> Corpus:
        """The text. Raises InputError where it is no longer the one that the comparison began with."""
        corpus = replace(load_text(self.path / "text.txt"), source=self.source)
        if corpus.sha256 != self.corpus_sha256:
            raise InputError(f"{self.path / 'text.txt'} is not the text that {self.path} began with")
        return corpus

    def config_of(self, entry: Entry) -> TrainConfig:
        """The settings of one run."""
        limit = entry.candidate.limit(self.config.vocab_size)
        return replace(self.config, tokenizer=entry.candidate.kind, vocab_size=limit, max_steps=entry.steps)

    def run(self, entry: Entry) -> Run:
        """The run of one entry: as it lies there or, where it has not begun, laid out new.

        Raises InputError where what lies there is the run of other settings or another text.
        """
        path = self.run_path(entry)
        if not (path / "config.json").is_file():
            data = encoded(self.corpus(), entry.candidate, self.config)
            return create_run(path, self.config_of(entry), data, None, replicas_for(self.config), None)
        run = open_run(path)
        if (run.config, run.corpus_sha256) != (self.config_of(entry), self.corpus_sha256):
            raise InputError(f"{path} is a run with other settings or another text than {self.path} compares")
        return run


def encoded(corpus: Corpus, one: Candidate, config: TrainConfig) -> TokenData:
    """The text in the tokens of a tokenizer that has learned from its training part."""
    data = encode_corpus(corpus, one.untrained(config.vocab_size).train(corpus.split()[0]))
    data.check_length(config.block_size)
    return data


def replicas_for(config: TrainConfig) -> int:
    """As ``train`` chooses them."""
    return choose_replicas(config.replicas, config.batch_size)


def create_comparison(
    path: Path,
    corpus: Corpus,
    config: TrainConfig,
    names: Sequence[str],
    budgets: Mapping[str, Budget],
    say: Say = lambda sentence: None,
) -> Comparison:
    """Lays out a comparison: the text and what is to be done with it. Each run is laid out when its turn comes.

    ``say`` is told what each budget comes to. Raises InputError where something is there already, or where one of the
    runs could not be: a text too short, a model larger than memory.
    """
    check_new_or_empty(path)
    entries = []
    for name in names:
        one = candidate(name)
        data = encoded(corpus, one, config)
        check_fits_memory(config, config.model_config(data.tokenizer.vocab_size), replicas_for(config))
        steps = budgets[name].steps(config, data)
        entries.append(Entry(one, budgets[name], steps))
        say(_described(entries[-1], data, config))
    comparison = Comparison(path, corpus.source, corpus.sha256, config, tuple(entries))
    path.mkdir(parents=True, exist_ok=True)
    (path / "runs").mkdir(exist_ok=True)
    write_atomically(path / "text.txt", corpus.text.encode())
    write_json(path / "comparison.json", _content(comparison))  # last: without it there is no comparison
    return comparison


def open_comparison(path: Path) -> Comparison:
    """The comparison in a directory. Raises InputError where there is none, or its file is damaged."""
    if not (path / "comparison.json").is_file():
        raise InputError(f"{path} is no comparison: it has no comparison.json; give what compare --out made")
    file = path / "comparison.json"
    content = read_json(file)
    if content.get("format") != "handgrad-comparison" or content.get("version") != FORMAT_VERSION:
        raise InputError(f"{file} is not that of a handgrad comparison of version {FORMAT_VERSION}")
    try:
        return Comparison(
            path=path,
            source=_text(content["text"]["source"]),
            corpus_sha256=_text(content["text"]["sha256"]),
            config=PRESETS["quick"].updated(content["config"], str(file)),
            entries=tuple(_entry(value) for value in content["entries"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}") from None


def _described(entry: Entry, data: TokenData, config: TrainConfig) -> str:
    tokens = entry.steps * config.batch_size * config.block_size * config.grad_accum_steps
    characters = tokens * data.meta.train_characters / data.meta.train_tokens
    parameters = config.model_config(data.tokenizer.vocab_size).n_parameters
    asked = "" if entry.budget.unit == "steps" else f"{entry.budget}: "
    return (
        f"{entry.name}: {asked}{entry.steps:,} steps, {tokens:,} tokens, {characters:,.0f} characters; "
        f"{parameters:,} parameters, {data.tokenizer.vocab_size:,} tokens known"
    )


def _content(comparison: Comparison) -> dict[str, Any]:
    return {
        "format": "handgrad-comparison",
        "version": FORMAT_VERSION,
        "text": {"source": comparison.source, "sha256": comparison.corpus_sha256},
        "config": asdict(comparison.config),
        "entries": [
            {"tokenizer": entry.name, "budget": asdict(entry.budget), "steps": entry.steps}
            for entry in comparison.entries
        ],
    }


def _entry(value: Mapping[str, Any]) -> Entry:
    steps, budget = value["steps"], value["budget"]
    if type(steps) is not int or not 0 < steps < _MOST_STEPS:
        raise ValueError(f"steps must be a number of steps, not {str(steps)[:80]}")
    return Entry(candidate(_text(value["tokenizer"])), Budget(float(budget["amount"]), budget["unit"]), steps)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r} should be a text")
    return value
