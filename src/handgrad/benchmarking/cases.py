"""What is timed: models of the sizes of the presets, on batches that are the same for every contender."""

import pydoc_data.topics
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from handgrad.data.batches import Batch
from handgrad.models import GPTConfig, LanguageModel, Product, new_model
from handgrad.ops.precision import Precision
from handgrad.runs import PRESETS, TrainConfig
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

_CHARACTERS = 69
"""The vocabulary of tiny Shakespeare, special tokens included."""
_GPT2_VOCABULARY, _GPT2_TOKENS = 50257, 256


@dataclass(frozen=True)
class Case:
    """A preset's model and optimizer, with a vocabulary and a batch."""

    name: str
    train: TrainConfig
    vocab_size: int
    tokens: int
    """Tokens in a window, at most block_size."""

    @property
    def model_config(self) -> GPTConfig:
        return self.train.model_config(self.vocab_size)

    @property
    def batch_size(self) -> int:
        return self.train.batch_size

    @property
    def precision(self) -> Precision:
        """Of the matrix products."""
        return self.train.precision

    def in_precision(self, precision: Precision) -> "Case":
        """The same with matrix products in this precision."""
        return replace(self, train=replace(self.train, precision=precision))

    def make_model(self) -> LanguageModel:
        """A new model, with the same weights at each call."""
        return new_model(self.model_config, seed=self.train.seed)

    def products(self, shards: int) -> list[Product]:
        """All matrix products of a training step on the largest of so many shards."""
        return self.model_config.products(-(-self.batch_size // shards), self.tokens)

    def batch(self, step: int) -> Batch:
        """The batch of a step: windows of Python's reference text, whose bytes are the tokens."""
        ids = _bytes_of_text()
        starts = np.random.default_rng([self.train.seed, step]).integers(0, len(ids) - self.tokens, self.batch_size)
        windows = ids[starts[:, None] + np.arange(self.tokens + 1)] % self.vocab_size
        return windows[:, :-1], windows[:, 1:]

    def stream(self, size: int) -> Array:
        """The first tokens of the text, to evaluate."""
        return _bytes_of_text()[:size] % self.vocab_size


def case_of(preset: str) -> Case:
    """The case with the sizes of a preset; gpt2 has one window of 256 tokens. Raises InputError if it is unknown."""
    if preset not in PRESETS:
        raise InputError(f"unknown sizes {preset!r}; choose from {', '.join(PRESETS)}")
    train = replace(PRESETS[preset], grad_accum_steps=1)
    if preset == "gpt2":
        return Case(preset, train, _GPT2_VOCABULARY, _GPT2_TOKENS)
    return Case(preset, train, train.vocab_size or _CHARACTERS, train.block_size)


def text() -> str:
    """The text for batches and for tokenizers: the reference text that is part of every Python."""
    return "\n".join(pydoc_data.topics.topics.values())


@cache
def _bytes_of_text() -> Array:
    return np.frombuffer(text().encode(), np.uint8).astype(np.int64)
