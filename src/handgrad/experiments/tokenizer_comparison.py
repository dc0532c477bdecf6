"""A comparison on disk: a text, a model's shape, and a run for each tokenizer."""

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from handgrad.data import Corpus, TokenData, encode_corpus, load_text
from handgrad.experiments.budget import Budget
from handgrad.experiments.candidates import Candidate, candidate
from handgrad.runs import (
    Run,
    TrainConfig,
    check_agrees,
    check_can_write_events,
    check_is_free,
    choose_replicas,
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
from handgrad.training import check_fits_memory

FORMAT_VERSION = 1
_MOST_STEPS = 1 << 53
Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A tokenizer, and how long its model is trained: the budget, and the same in steps."""

    candidate: Candidate
    budget: Budget
    steps: int

    @property
    def name(self) -> str:
        return self.candidate.name


@dataclass(frozen=True)
class TokenizerComparison:
    """One text and one model's shape under several tokenizers."""

    path: Path
    source: str
    """Where the text came from; the directory holds a copy, ``text.txt``."""
    corpus_sha256: str
    config: TrainConfig
    entries: tuple[Entry, ...]

    def run_path(self, entry: Entry) -> Path:
        return self.path / "runs" / entry.name

    def corpus(self) -> Corpus:
        """The text. Raises InputError if it has changed since the comparison began."""
        corpus = replace(load_text(self.path / "text.txt"), source=self.source)
        if corpus.sha256 != self.corpus_sha256:
            raise InputError(f"{self.path / 'text.txt'} is not the text that {self.path} began with")
        return corpus

    def config_of(self, entry: Entry) -> TrainConfig:
        """The settings of one run."""
        limit = entry.candidate.limit(self.config.vocab_size)
        return replace(self.config, tokenizer=entry.candidate.kind, vocab_size=limit, max_steps=entry.steps)

    def run(self, entry: Entry) -> Run:
        """The run of one entry, which is laid out if it does not exist yet.

        Raises InputError if the directory holds something else, or a run with other settings, another tokenizer or
        another text.
        """
        path = self.run_path(entry)
        check_is_no_link(path)
        if not (path / "config.json").is_file():
            if path.exists() and any(path.iterdir()) and not is_unfinished(path):
                raise InputError(f"{path} is no run: it has no config.json; move it away to train it again")
            data = encoded(self.corpus(), entry.candidate, self.config)
            return create_run(path, self.config_of(entry), data, None, replicas_for(self.config), None)
        run = open_run(path)
        expected = self.config_of(entry), self.corpus_sha256
        if (run.config, run.corpus_sha256) != expected or not entry.candidate.made(run.tokenizer()):
            raise InputError(
                f"{path} is a run with other settings, another tokenizer or another text than {self.path} compares; "
                "move it away to train it again"
            )
        return run

    def is_done(self, entry: Entry) -> bool:
        """Whether a run has made all its steps, according to its metrics and checkpoints."""
        path, read_once = self.run_path(entry), cache(read_progress)  # last and best may be the same checkpoint
        try:
            last, best = (load_intact(path, wanted, read_once)[0] for wanted in ("last", "best"))
            rows = read_metrics(path / "metrics.jsonl")
        except (InputError, OSError):
            return False  # training then reports the damage, and repairs what it can
        return bool(rows) and min(last.step, rows[-1]["step"]) >= entry.steps and best.step == last.best_step


def encoded(corpus: Corpus, one: Candidate, config: TrainConfig) -> TokenData:
    """The text in the tokens of a tokenizer that has learned its vocabulary from the training part."""
    data = encode_corpus(corpus, one.untrained(config.vocab_size, config.byte_fallback).train(corpus.split()[0]))
    data.check_length(config.block_size, config.boundaries)
    return data


def replicas_for(config: TrainConfig) -> int:
    """The number that ``train`` chooses."""
    return choose_replicas(config.replicas, config.batch_size)


def create_comparison(
    path: Path,
    corpus: Corpus,
    config: TrainConfig,
    names: Sequence[str],
    budgets: Mapping[str, Budget],
    say: Say = lambda sentence: None,
) -> TokenizerComparison:
    """Lays out a comparison, with its text and its settings. Each run is laid out when its turn comes.

    ``say`` is called with a description of each entry. Raises InputError if the directory is not free, if the text is
    too short, or if a model is larger than memory.
    """
    check_is_free(path)
    check_agrees(config)
    check_can_write_events(config)
    if config.eval_batches:
        raise InputError(
            f"eval_batches must be 0 to compare tokenizers, not {config.eval_batches}: the same number of tokens is "
            "more text with one tokenizer than with another"
        )
    entries, described, unusual = [], [], []
    for name in names:
        one = candidate(name)
        data = encoded(corpus, one, config)
        check_fits_memory(config, config.model_config(data.tokenizer.vocab_size), replicas_for(config))
        steps = budgets[name].steps(config, data)
        if steps >= _MOST_STEPS:
            raise InputError(f"{name}: {budgets[name]} are {steps:,} steps; there can be {_MOST_STEPS - 1:,} at most")
        entries.append(Entry(one, budgets[name], steps))
        described.append(_described(entries[-1], data, config))
        if config.warmup_steps >= steps:
            unusual.append(f"{name}: warmup_steps is {config.warmup_steps:,}, so the learning rate never reaches lr")
    comparison = TokenizerComparison(path, corpus.source, corpus.sha256, config, tuple(entries))
    content = corpus.text.encode()
    with making_directory(path):
        (path / "runs").mkdir()
        # Reading a file drops one byte order mark, so a text that starts with a mark needs a second one.
        write_atomically(path / "text.txt", BOM_UTF8 + content if content.startswith(BOM_UTF8) else content)
        write_json(path / "comparison.json", _content(comparison))  # last: without it there is no comparison
    for sentence in (*described, *unusual):
        say(sentence)
    return comparison


def open_comparison(path: Path) -> TokenizerComparison:
    """The comparison in a directory. Raises InputError if there is none, or if its file is damaged."""
    file = path / "comparison.json"
    if not file.is_file():
        if is_unfinished(path):
            raise InputError(f"{path} is no comparison yet: it was cut off at its beginning; begin again with --out")
        raise InputError(f"{path} is no comparison: it has no comparison.json; give what compare --out made")
    content = read_json(file)
    if content.get("format") != "handgrad-comparison" or content.get("version") != FORMAT_VERSION:
        raise InputError(f"{file} does not describe a handgrad comparison of version {FORMAT_VERSION}")
    try:
        return TokenizerComparison(
            path=path,
            source=_text(content["text"]["source"]),
            corpus_sha256=_text(content["text"]["sha256"]),
            config=TrainConfig().updated(content["config"], str(file)),
            entries=_entries(content["entries"]),
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
        f"{parameters:,} parameters, vocabulary of {data.tokenizer.vocab_size:,} tokens"
    )


def _content(comparison: TokenizerComparison) -> dict[str, Any]:
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


def _entries(values: Any) -> tuple[Entry, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError("entries must be a list of at least one")
    entries = tuple(_entry(value) for value in values)
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("the entries name a tokenizer twice")
    return entries


def _entry(value: Mapping[str, Any]) -> Entry:
    steps, budget = value["steps"], value["budget"]
    if type(steps) is not int or not 0 < steps < _MOST_STEPS:
        raise ValueError(f"steps must be a number of steps, not {str(steps)[:80]}")
    unit = _text(budget["unit"])
    amount = dataclass_from_json(Budget, {name: item for name, item in budget.items() if name != "unit"}, unit=unit)
    return Entry(candidate(_text(value["tokenizer"])), amount, steps)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r} should be a text")
    return value
