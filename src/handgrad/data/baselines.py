"""What a text costs without a network: the loss of a uniform guess, and of a table of neighbouring tokens."""

import math
from dataclasses import dataclass

import numpy as np

from handgrad.data.token_files import TokenData
from handgrad.system.arrays import Array

_MOST_TOKENS = 1 << 23
"""Of each part of a longer text, the beginning is enough: only the first digits matter."""


@dataclass(frozen=True)
class Baselines:
    """Losses on the validation text, in nats per token, that a model should beat."""

    uniform: float
    """log V: every token of the vocabulary is equally likely."""
    bigram: float
    """Each token is predicted from the token before it, by counts of the training text."""

    def __post_init__(self) -> None:
        for name, loss in vars(self).items():
            if not (type(loss) is float and 0 <= loss < math.inf):
                raise ValueError(f"{name} must be a finite number of at least 0, not {str(loss)[:80]}")


def baselines_of(data: TokenData) -> Baselines | None:
    """The baselines of a text; None if one of its parts is shorter than two tokens.

    Raises InputError if an id is outside the vocabulary.
    """
    train, validation = data.train[:_MOST_TOKENS], data.validation[:_MOST_TOKENS]
    if min(len(train), len(validation)) < 2:
        return None
    for part in (train, validation):
        data.check_ids(part)
    vocab_size = data.meta.vocab_size
    return Baselines(math.log(vocab_size), bigram_loss(train, validation, vocab_size))


def bigram_loss(train: Array, validation: Array, vocab_size: int) -> float:
    """The mean of -log p(j | i) over neighbours i, j in ``validation``, with p from the counts in ``train``.

    n_ij counts the pair, n_i is Σ_j n_ij, and t_i is the number of different tokens that follow i. Pairs that were not
    seen share t_i of n_i + t_i parts, in proportion to p(j) = (n_j + 1) / (N + V) (Witten and Bell, 1991):
        p(j | i) = (n_ij + t_i p(j)) / (n_i + t_i), and p(j) if i was not seen.
    """
    pairs, counts = np.unique(_pairs(train, vocab_size), return_counts=True)
    first = pairs // vocab_size
    n = np.bincount(first, counts, vocab_size)
    t = np.maximum(np.bincount(first, minlength=vocab_size), 1)
    p = (np.bincount(train, minlength=vocab_size) + 1) / (len(train) + vocab_size)
    asked, times = np.unique(_pairs(validation, vocab_size), return_counts=True)
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    n_ij = np.where(pairs[place] == asked, counts[place], 0)
    i, j = np.divmod(asked, vocab_size)
    return float(-(times * np.log((n_ij + t[i] * p[j]) / (n[i] + t[i]))).sum() / times.sum())


def _pairs(ids: Array, vocab_size: int) -> Array:
    """A number for each pair of neighbours."""
    return ids[:-1].astype(np.int64) * vocab_size + ids[1:]
