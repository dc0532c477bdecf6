"""Generates tokens from a model, one by one."""

import operator
from collections.abc import Iterator, Sequence

import numpy as np

from handgrad.autograd import no_grad
from handgrad.generation.strategies import Strategy
from handgrad.models import LanguageModel
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError


def generate(
    model: LanguageModel,
    ids: Sequence[int] | Array,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | Sequence[int] = 0,
    exclude: Sequence[int] = (),
    ends: Sequence[int] = (),
) -> Iterator[int]:
    """Yields max_new_tokens ids that continue ``ids`` (at least one), each as soon as it is chosen.

    The model sees the last block_size tokens only. Ids in ``exclude``, such as special tokens, are never chosen. An id
    in ``ends``, such as that of <eos>, ends the text and is not yielded. One seed gives one text.

    Raises InputError for an invalid temperature, top_k or top_p, and for ids that are no integers. Raises ValueError if
    ``ids`` is empty, or if ``exclude`` contains an unknown id or every id.
    """
    strategy = Strategy(temperature, top_k, top_p)
    try:
        context = [operator.index(i) for i in ids]
    except TypeError:
        raise InputError("generate: ids must be integers") from None
    if not context:
        raise ValueError("generate: at least one id is needed to continue from")
    vocab_size = model.config.vocab_size
    if not set(exclude) < set(range(vocab_size)):
        raise ValueError(f"generate: exclude must be some of the ids below {vocab_size}, not {sorted(exclude)}")
    rng = np.random.default_rng(seed)
    return _generate(model, context, max_new_tokens, strategy, rng, list(exclude), frozenset(ends))


def _generate(
    model: LanguageModel,
    context: list[int],
    max_new_tokens: int,
    strategy: Strategy,
    rng: np.random.Generator,
    exclude: list[int],
    ends: frozenset[int],
) -> Iterator[int]:
    for _ in range(max_new_tokens):
        logits = _next_logits(model, context[-model.config.block_size :])
        logits[exclude] = -np.inf
        context.append(strategy.choose(logits, rng))
        if context[-1] in ends:
            return
        yield context[-1]


def _next_logits(model: LanguageModel, context: list[int]) -> Array:
    """Logits (V,) of the token after the context, without dropout."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with no_grad():
            logits: Array = model.logits(np.array([context]))[0, -1]
            return logits
    finally:
        if was_training:
            model.train()
