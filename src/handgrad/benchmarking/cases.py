"""What is timed: the sizes of the presets, and batches that every contender gets alike."""

import pydoc_data.topics
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from handgrad.data.batches import Batch
from handgrad.models import GPTConfig, LanguageModel, Product, new_model
from handgrad.runs import PRESETS, TrainConfig
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

_CHARACTERS = 69
"""Of tiny Shakespeare, with the special tokens."""
_GPT2_VOCABULARY, _GPT2_TOKENS = 50257, 256


@dataclass(frozen=True)
class Case:
    """A preset's model and optimizer, with a vocabulary and a batch."""

    name: str
    train: TrainConfig
    vocab_size: int
    tokens: int
    """How many of a window, at most block_size."""

    @property
    def model_config(self) -> GPTConfig:
        return self.train.model_config(self.vocab_size)

    @property
    def batch_size(self) -> int:
        return self.train.batch_size

    def make_model(self) -> LanguageModel:
        """The same weights at each call."""
        return new_model(self.model_config, seed=self.train.seed)

    def products(self, replicas: int) -> list[Product]:
        """All matrix products of one replica's share of a training step."""
        return self.model_config.products(-(-self.batch_size // replicas), self.tokens)

    def batch(self, step: int) -> Batch:
        """The batch of a step: windows of Python's reference text, its bytes taken for tokens."""
        ids = _bytes_of_text()
        starts = np.random.default_rng([self.train.seed, step]).integers(0, len(ids) - self.tokens, self.batch_size)
        windows = ids[starts[:, None] + np.arange(self.tokens + 1)] % self.vocab_size
        return windows[:, :-1], windows[:, 1:]

    def stream(self, size: int) -> Array:
        """The first tokens of the text, to evaluate."""
        return _bytes_of_text()[:size] % self.vocab_size


def case_of(preset: str) -> Case:
    """The case of a preset's sizes; of gpt2 one window of 256 tokens. Raises InputError for a preset there is not."""
    if preset not in PRESETS:
        raise InputError(f"unknown sizes {preset!r}; known: {', '.join(PRESETS)}")
    train = replace(PRESETS[preset], grad_accum_steps=1)
    if preset == "gpt2":
        return Case(preset, train, _GPT2_VOCABULARY, _GPT2_TOKENS)
    return Case(preset, train, _CHARACTERS, train.block_size)


def text() -> str:
    """The text that is cut into batches and tokenized: the reference text that every Python carries."""
    return "\n".join(pydoc_data.topics.topics.values())


@cache
def _bytes_of_text() -> Array:
    return np.frombuffer(text().encode(), np.uint8).astype(np.int64)
