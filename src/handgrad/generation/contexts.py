"""What a model has read of the texts that it continues together, and the logits that follow."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from handgrad.autograd import no_grad
from handgrad.models import LanguageModel
from handgrad.models.cache import KVCache
from handgrad.models.config import GPTConfig
from handgrad.models.next_token import NextToken
from handgrad.system.arrays import Array


def context_start(config: GPTConfig, tokens: int) -> int:
    """Where the context of the next token begins in a text of so many tokens.

    At the beginning, if they fit into block_size or the model reads any length. Otherwise the model would have to read
    the last block_size tokens anew for each further token, as each then stands at another position. So it begins anew
    only once the block is full, with the last three quarters of it, and goes on until it is full again.
    """
    beyond = tokens - config.block_size
    if beyond <= 0 or config.reads_any_length:
        return 0
    quarter = max(config.block_size // 4, 1)
    return -(-beyond // quarter) * quarter


class Contexts:
    """B texts, each of at least one token, that one model continues at the same time.

    Call ``next_logits``, then ``add`` with one token for each text, and so on. ``cached=False`` reads the whole context
    again for each token; the logits are the same but for rounding. A model that takes no cache always does.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], cached: bool = True) -> None:
        self.model, self.cached = model, cached and model.takes_kv_cache
        self.ids = [list(prompt) for prompt in prompts]
        self.starts = [0] * len(self.ids)
        """Where the context that the cache has of each text begins."""
        if self.cached:
            self.cache = KVCache(model.config, len(self.ids), model.arena.data.dtype)
            self.next_token = NextToken(model)

    def next_logits(self) -> Array:
        """Logits (B, V) of the token after each text, without dropout. The caller may change them."""
        was_training = self.model.training
        if was_training:
            self.model.eval()
        try:
            with no_grad():
                return self._from_cache() if self.cached else self._from_the_beginning()
        finally:
            if was_training:
                self.model.train()

    def add(self, ids: Sequence[int]) -> None:
        """Writes one token behind each text."""
        for text, number in zip(self.ids, ids, strict=True):
            text.append(number)

    def drop(self, place: int) -> None:
        """Ends the text at this place; the last text takes its place."""
        self.ids[place], self.starts[place] = self.ids[-1], self.starts[-1]
        self.ids.pop()
        self.starts.pop()
        if self.cached:
            self.cache.drop(place)

    def _from_the_beginning(self) -> Array:
        config = self.model.config
        contexts = (ids[context_start(config, len(ids)) :] for ids in self.ids)
        return np.stack([self.model.logits(np.array([context]))[0, -1] for context in contexts])

    def _from_cache(self) -> Array:
        """Texts with one token to read go through the model together; a text with more is read by itself."""
        unread = self._unread()
        logits = np.empty((len(unread), self.model.config.vocab_size), self.model.arena.data.dtype)
        self.cache.make_room(np.array([min(len(ids), self.model.config.block_size) for ids in unread]))
        known: dict[tuple[int, ...], int] = {}
        for is_single, group in groupby(range(len(unread)), key=lambda place: len(unread[place]) == 1):
            places = list(group)
            if is_single:
                some = slice(places[0], places[-1] + 1)
                logits[some] = self.next_token(np.array([unread[p][0] for p in places]), self.cache.part(some))
            else:
                for place in places:
                    self._read(place, unread[place], known, logits)
        return logits

    def _unread(self) -> list[list[int]]:
        """The tokens of each context that the model has not read, at least one; all if the context begins anew."""
        unread = []
        for place, (ids, read) in enumerate(zip(self.ids, self.cache.positions.tolist(), strict=True)):
            start = context_start(self.model.config, len(ids))
            # All are read if nothing was added since: an error or Ctrl-C came before the logits were used.
            if start != self.starts[place] or start + read == len(ids):
                self.starts[place], read = start, 0
                self.cache.clear(place)
            unread.append(ids[start + read :])
        return unread

    def _read(self, place: int, unread: list[int], known: dict[tuple[int, ...], int], logits: Array) -> None:
        """Reads several tokens of a text in one pass, or in passes of block_size; texts that begin alike share them."""
        is_first = self.cache.positions[place] == 0
        twin = known.setdefault(tuple(unread), place) if is_first else place
        if twin != place:
            self.cache.copy(place, twin)
            logits[place] = logits[twin]
            return
        text = slice(place, place + 1)
        for start in range(0, len(unread), self.model.config.block_size):
            piece = np.array([unread[start : start + self.model.config.block_size]])
            logits[text] = self.model(piece, kv_cache=self.cache.part(text))[:, 0]
