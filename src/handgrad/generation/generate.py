"""Generates tokens from a model, one by one, for one text or for several together."""

import math
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from handgrad.generation.contexts import Contexts
from handgrad.generation.strategies import Strategy
from handgrad.models import LanguageModel
from handgrad.ops import log_softmax
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError


class Token(NamedTuple):
    """A token that was chosen for one of several texts."""

    text: int
    """The number of the text: that of its prompt."""
    id: int
    logprob: float = math.nan
    """The natural logarithm of the probability that the model gives it, before anything is excluded, filtered or
    divided by a temperature; NaN if nobody asked for it."""


class Generation(Iterator[list[Token]]):
    """Several texts that one model writes together, from ``generate_texts``.

    Each ``next`` computes one step: a list of new tokens, one for each text that goes on, in the order of the texts.
    """

    def __init__(
        self,
        contexts: Contexts,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        strategy: Strategy,
        rngs: Sequence[np.random.Generator],
        exclude: Sequence[int],
        ends: Collection[int],
        logprobs: bool,
    ) -> None:
        self._contexts, self._prompts, self._strategy, self._logprobs = contexts, prompts, strategy, logprobs
        self._exclude, self._ends = np.array(list(exclude), np.intp), frozenset(ends)
        self._steps_left = operator.index(max_new_tokens)
        # What follows has a place for each text that goes on, the same as in the contexts.
        self._texts = list(range(len(prompts)))
        self._rngs = list(rngs)
        self._seen: Array | None = None

    def __next__(self) -> list[Token]:
        if self._steps_left <= 0 or not self._texts:
            raise StopIteration
        self._steps_left -= 1
        logits = self._contexts.next_logits()
        if self._seen is None and self._strategy.looks_back:
            self._seen = self._tokens_in(self._prompts, logits.shape[1])
        models_own = logits.astype(np.float64) if self._logprobs else None  # a copy
        logits[:, self._exclude] = -np.inf
        ids = self._strategy.choose_each(logits, self._rngs, self._seen)
        self._contexts.add(ids)
        places = np.arange(len(ids))
        if self._seen is not None:
            self._seen[places, ids] = True
        logprobs = [math.nan] * len(ids)
        if models_own is not None:
            logprobs = log_softmax(models_own)[0][places, ids].tolist()
        tokens = [Token(*each) for each in zip(self._texts, ids, logprobs, strict=True) if each[1] not in self._ends]
        for place in reversed(range(len(ids))):  # from the last, so that a text that moves to a place goes on
            if ids[place] in self._ends:
                self._drop(place)
        if not tokens:
            raise StopIteration
        return sorted(tokens)

    def end(self, text: int) -> None:
        """Ends a text: the model computes it no further. Does nothing if the text has ended."""
        if text in self._texts:
            self._drop(self._texts.index(text))

    def _drop(self, place: int) -> None:
        """Drops the text at this place, which the last text takes, as in the contexts."""
        self._contexts.drop(place)
        self._texts[place], self._rngs[place] = self._texts[-1], self._rngs[-1]
        del self._texts[-1], self._rngs[-1]
        if self._seen is not None:
            self._seen[place] = self._seen[-1]
            self._seen = self._seen[:-1]

    def _tokens_in(self, prompts: Sequence[Sequence[int]], vocab_size: int) -> Array:
        """Whether each token is in the text at each place, bool (B, V).

        Tokens that end a text are left out. A document often begins with one, and no penalty shall make it longer.
        """
        seen = np.zeros((len(self._texts), vocab_size), bool)
        for place, text in enumerate(self._texts):
            seen[place, list(prompts[text])] = True
        seen[:, [end for end in self._ends if 0 <= end < vocab_size]] = False
        return seen


def generate(
    model: LanguageModel,
    ids: Sequence[int] | Array,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int | Sequence[int] = 0,
    exclude: Sequence[int] = (),
    ends: Sequence[int] = (),
    cached: bool = True,
) -> Iterator[int]:
    """Yields max_new_tokens ids that continue ``ids`` (at least one), each as soon as it is chosen.

    The model sees at least the last three quarters of block_size tokens, and at most block_size, unless it reads any
    length: see ``context_start``. Ids in ``exclude``, such as special tokens, are never chosen. An id
    in ``ends``, such as that of <eos>, ends the text and is not yielded. One seed gives one text. ``Strategy`` explains
    the other options; the repetition penalty is for every token of ``ids`` and of what is written, but not for those in
    ``ends``. ``cached=False`` reads the whole context again for each token, as is always done with a model that takes
    no ``kv_cache``: the text is the same. Matrix products are taken in float32, whatever ``model.config.precision`` is.

    Raises InputError for an invalid temperature, top_k, top_p, min_p or repetition_penalty, and for ids that are no
    integers. Raises ValueError if ``ids`` is empty, or if ``exclude`` contains an unknown id or every id.
    """
    strategy = Strategy(temperature, top_k, top_p, min_p, repetition_penalty)
    prompt = _as_list(ids, "generate")
    steps = _begun(model, [prompt], max_new_tokens, strategy, [seed], exclude, ends, cached)
    return (token.id for [token] in steps)


def generate_texts(
    model: LanguageModel,
    prompts: Sequence[Sequence[int] | Array],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seeds: Sequence[int | Sequence[int]] | None = None,
    exclude: Sequence[int] = (),
    ends: Sequence[int] = (),
    logprobs: bool = False,
    cached: bool = True,
) -> Generation:
    """Continues several texts together, each by at most max_new_tokens tokens.

    A step of all texts costs the model little more than a step of one. The result is an iterator: for each step, a list
    of one ``Token`` for each text that goes on. A text goes on until a token in ``ends``, which is not in the lists, or
    until its reader calls ``end`` with its number. The iterator stops when no text goes on.

    Each text has its own seed in ``seeds`` (by default its number), and its tokens are those that ``generate`` writes
    with this seed, alone or beside others. (Without compiled code, the logits of several texts may differ in their last
    digits from those of one.) ``logprobs``: give each token its log-probability, too. The other options are those of
    ``generate``.

    Raises InputError for an invalid temperature, top_k, top_p, min_p or repetition_penalty, and for ids that are no
    integers. Raises ValueError if a prompt is empty, if there is not one seed for each, or if ``exclude`` contains an
    unknown id or every id.
    """
    strategy = Strategy(temperature, top_k, top_p, min_p, repetition_penalty)
    texts = [_as_list(ids, f"generate_texts: prompt {number}") for number, ids in enumerate(prompts)]
    seeds = range(len(texts)) if seeds is None else seeds
    if len(seeds) != len(texts):
        raise ValueError(f"generate_texts: each of the {len(texts)} prompts needs a seed; there are {len(seeds)}")
    return _begun(model, texts, max_new_tokens, strategy, seeds, exclude, ends, cached, logprobs)


def _as_list(ids: Sequence[int] | Array, what: str) -> list[int]:
    try:
        prompt = [operator.index(i) for i in ids]
    except TypeError:
        raise InputError(f"{what}: ids must be integers") from None
    if not prompt:
        raise ValueError(f"{what}: at least one id is needed to continue from")
    return prompt


def _begun(
    model: LanguageModel,
    prompts: list[list[int]],
    max_new_tokens: int,
    strategy: Strategy,
    seeds: Sequence[int | Sequence[int]],
    exclude: Sequence[int],
    ends: Sequence[int],
    cached: bool,
    logprobs: bool = False,
) -> Generation:
    vocab_size = model.config.vocab_size
    if not set(exclude) < set(range(vocab_size)):
        raise ValueError(f"generate: exclude must be some of the ids below {vocab_size}, not {sorted(exclude)}")
    rngs = [np.random.default_rng(seed) for seed in seeds]
    contexts = Contexts(model.in_precision("float32"), prompts, cached)
    return Generation(contexts, prompts, max_new_tokens, strategy, rngs, exclude, ends, logprobs)
