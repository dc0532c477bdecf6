"""The measures of a trained run, by which runs with different tokenizers or recipes are compared."""

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handgrad.data import TokenData, count_unknown
from handgrad.experiments.budget import characters_per_token
from handgrad.experiments.comparison import Entry
from handgrad.generation import write
from handgrad.runs import Run, read_metrics
from handgrad.system.errors import InputError
from handgrad.training import bits_per_character

SAMPLES, SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 4, 500, 0.8
_LAST_LOSSES = 20
"""Logged steps whose mean is the final training loss: a single batch says little."""
_LEAST_WORDS = 4
"""The fewest words of a line that counts as copied: a single word, such as a speaker's name, occurs in any text."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True)
class Writing:
    """What samples have in common with the training text."""

    words: int
    known_words: int
    """Those that occur in the training text."""
    lines: int
    """Whole lines of at least four words."""
    copied_lines: int
    """Those that occur in the training text unchanged."""


@dataclass(frozen=True)
class Curve:
    """How a run's bits per character fell, against characters seen, against time and against steps."""

    characters: tuple[float, ...]
    """Characters of the training text seen."""
    seconds: tuple[float, ...]
    """Time at the median rate of the run, which evaluations and other work on the machine do not change."""
    validation: tuple[float, ...]
    training: tuple[float, ...]
    """The mean over the steps logged since the last evaluation."""
    steps: tuple[float, ...] = ()
    """Empty in results of before version 0.2."""


@dataclass(frozen=True)
class Measures:
    """A run in numbers. Losses are nats per token; bits are None if the tokenizer loses text."""

    name: str
    """Of the run: its tokenizer, or its recipe."""
    budget: str
    steps: int
    parameters: int
    vocabulary_parameters: int
    """Those in tables with a row for each token: the embedding, and the head if it has its own table."""
    vocab_size: int
    characters_per_token: float
    """Of the training text."""
    tokens_seen: int
    characters_seen: float
    training_loss: float
    """The mean of the last logged steps."""
    validation_loss: float
    """At the last step."""
    best_validation_loss: float
    best_step: int
    bits_per_character: float | None
    """At the last step."""
    best_bits_per_character: float | None
    unknown_tokens: int
    """Of the validation text."""
    validation_tokens: int
    sampled_characters: float
    """In a sample of 500 tokens, on average."""
    writing: Writing
    tokens_per_second: float
    """The median over the logged steps."""
    seconds: float
    """Time of training, including evaluations and other work on the machine."""
    samples: tuple[str, ...]
    curve: Curve | None
    """None if the tokenizer loses text."""


def measure(run: Run, entry: Entry, notice: Callable[[str], None] = lambda sentence: None) -> Measures:
    """The measures of a finished run, with samples of its best checkpoint.

    If that checkpoint is damaged, another replaces it and ``notice`` is called. Raises InputError if the run is not
    finished, or if lines of its metrics are missing.
    """
    rows = read_metrics(run.metrics_path)
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    evaluated = [row for row in rows if row["val_loss"] is not None and row["step"] > 0]
    if not (losses and evaluated and rows[-1]["step"] >= entry.steps and _rates(rows)):
        raise InputError(
            f"{run.metrics_path} does not cover all {entry.steps:,} steps; move {run.path} away to train it again"
        )
    data = run.data()
    best = min(evaluated, key=lambda row: row["val_loss"])
    model, _ = run.model("best", notice)
    samples = [
        write(model, data.tokenizer, SAMPLE_TOKENS, temperature=SAMPLE_TEMPERATURE, seed=[run.config.seed, number])
        for number in range(SAMPLES)
    ]
    per_token = characters_per_token(data)
    return Measures(
        name=entry.name,
        budget=str(entry.budget),
        steps=entry.steps,
        parameters=run.model_config.n_parameters,
        vocabulary_parameters=vocabulary_parameters(run),
        vocab_size=run.model_config.vocab_size,
        characters_per_token=per_token,
        tokens_seen=rows[-1]["tokens"],
        characters_seen=rows[-1]["tokens"] * per_token,
        training_loss=statistics.fmean(losses[-_LAST_LOSSES:]),
        validation_loss=evaluated[-1]["val_loss"],
        best_validation_loss=best["val_loss"],
        best_step=best["step"],
        bits_per_character=bits_per_character(evaluated[-1]["val_loss"], data.tokens_per_character),
        best_bits_per_character=bits_per_character(best["val_loss"], data.tokens_per_character),
        unknown_tokens=count_unknown(data.tokenizer, data.validation),
        validation_tokens=len(data.validation),
        sampled_characters=statistics.fmean(len(sample) for sample in samples),
        writing=compare_with(data.tokenizer.decode(data.train), samples),
        tokens_per_second=median_rate(rows),
        seconds=rows[-1]["seconds"],
        samples=tuple(samples),
        curve=bits_curve(data, rows),
    )


def median_rate(rows: Sequence[Mapping[str, Any]]) -> float:
    """The median of tokens per second over the logged steps."""
    return statistics.median(_rates(rows))


def _rates(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [row["tokens_per_second"] for row in rows if row["tokens_per_second"]]


def vocabulary_parameters(run: Run) -> int:
    """Parameters that one token needs, times the size of the vocabulary."""
    config = run.config
    each = config.model_config(2).n_parameters - config.model_config(1).n_parameters
    return each * run.model_config.vocab_size


def compare_with(text: str, samples: Sequence[str]) -> Writing:
    """Words and lines of samples that occur in a text. The end of a sample may be cut off and does not count."""
    known, stood = set(_WORD.findall(text)), {line.strip() for line in text.splitlines()}
    words, lines = [], []
    for sample in samples:
        words += [found[0] for found in _WORD.finditer(sample) if found.end() < len(sample.rstrip("'’"))]
        whole = f"{sample}.".splitlines()[:-1]  # without the line that may be cut off
        lines += [line.strip() for line in whole if len(_WORD.findall(line)) >= _LEAST_WORDS]
    return Writing(
        words=len(words),
        known_words=sum(word in known for word in words),
        lines=len(lines),
        copied_lines=sum(line in stood for line in lines),
    )


def bits_curve(data: TokenData, rows: Sequence[Mapping[str, Any]]) -> Curve | None:
    """One point for each evaluation of a run; None if its tokenizer loses text."""
    if data.tokens_per_character is None:
        return None
    per_token, rate = characters_per_token(data), median_rate(rows)
    points: list[Mapping[str, Any]] = []
    training: list[float] = []
    since: list[float] = []
    for row in rows:
        since += [] if row["loss"] is None else [row["loss"]]
        if row["val_loss"] is not None:
            points.append(row)
            # The training loss of the untrained model is not logged; its validation loss is close enough.
            mean = statistics.fmean(since) if since else row["val_loss"]
            training.append(mean / per_token / math.log(2))
            since = []
    return Curve(
        characters=tuple(row["tokens"] * per_token for row in points),
        seconds=tuple(row["tokens"] / rate for row in points),
        validation=tuple(row["val_loss"] / math.log(2) * data.tokens_per_character for row in points),
        training=tuple(training),
        steps=tuple(float(row["step"]) for row in points),
    )
