"""A comparison of tokenizers: a text, a model's shape, and a run for each tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handgrad.data import Corpus, TokenData
from handgrad.experiments.budget import Budget
from handgrad.experiments.candidates import Candidate, candidate
from handgrad.experiments.comparison import (
    Comparison,
    check_can_be_compared,
    check_names,
    content_of,
    described,
    encoded_with,
    lay_out,
    length_in,
    list_in,
    shared_fields,
    steps_of,
    text_in,
    unusual,
)
from handgrad.runs import TrainConfig
from handgrad.tokenizers import Tokenizer

FORMAT, RESULTS_FORMAT = "handgrad-comparison", "handgrad-results"
Say = Callable[[str], None]


@dataclass(frozen=True)
class TokenizerEntry:
    """A tokenizer, and how long its model is trained: the budget, and the same in steps."""

    candidate: Candidate
    budget: Budget
    steps: int

    @property
    def name(self) -> str:
        return self.candidate.name


class TokenizerComparison(Comparison[TokenizerEntry]):
    """One text and one model's shape under several tokenizers."""

    def config_of(self, entry: TokenizerEntry) -> TrainConfig:
        limit = entry.candidate.limit(self.config.vocab_size)
        return replace(self.config, tokenizer=entry.candidate.kind, vocab_size=limit, max_steps=entry.steps)

    def untrained(self, entry: TokenizerEntry) -> Tokenizer:
        return entry.candidate.untrained(self.config.vocab_size, self.config.byte_fallback)

    def made(self, entry: TokenizerEntry, tokenizer: Tokenizer) -> bool:
        return entry.candidate.made(tokenizer)

    def head_of_results(self) -> dict[str, Any]:
        return content_of(self, RESULTS_FORMAT)


def encoded(corpus: Corpus, one: Candidate, config: TrainConfig) -> TokenData:
    """The text in the tokens of a tokenizer that has learned its vocabulary from the training part."""
    return encoded_with(corpus, one.untrained(config.vocab_size, config.byte_fallback), config)


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
    tokens_differ = "the same number of tokens is more text with one tokenizer than with another"
    check_can_be_compared(path, config, "tokenizers", tokens_differ)
    entries, sentences, odd = [], [], []
    for name in names:
        one = candidate(name)
        data = encoded(corpus, one, config)
        steps = steps_of(name, budgets[name], config, data)
        entries.append(TokenizerEntry(one, budgets[name], steps))
        sentences.append(described(name, budgets[name], steps, config, data))
        odd += unusual(name, steps, config)
    comparison = TokenizerComparison(path, corpus.source, corpus.sha256, config, tuple(entries))
    lay_out(comparison, corpus, _content(comparison))
    for sentence in (*sentences, *odd):
        say(sentence)
    return comparison


def tokenizer_comparison_in(path: Path, content: Mapping[str, Any]) -> TokenizerComparison:
    """The comparison that a comparison.json describes. Raises KeyError, ValueError and the like if it is damaged."""
    entries = tuple(_entry(value) for value in list_in(content["entries"]))
    check_names(entries)
    return TokenizerComparison(entries=entries, **shared_fields(path, content))


def _content(comparison: TokenizerComparison) -> dict[str, Any]:
    entries = [
        {"tokenizer": entry.name, "budget": asdict(entry.budget), "steps": entry.steps} for entry in comparison.entries
    ]
    return content_of(comparison, FORMAT) | {"entries": entries}


def _entry(value: Mapping[str, Any]) -> TokenizerEntry:
    return TokenizerEntry(candidate(text_in(value["tokenizer"])), *length_in(value))
