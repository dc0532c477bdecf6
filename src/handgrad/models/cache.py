"""The key/value cache: what attention needs of the tokens that a model has read, so that it reads each only once."""

import numpy as np
import numpy.typing as npt

from handgrad.models.config import GPTConfig
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.system.arrays import Array

_FEWEST_SLOTS = 64


class KVCache:
    """Keys and values of B texts in every layer, an argument of the model's ``forward`` under ``no_grad``.

    Each call of the model reads further tokens, the same number of each text, and writes their keys and values behind
    those that are there. A layer attends to no other token of the text, so that the logits are those of the whole text.

    A text may have at most ``config.block_size`` tokens, unless the model reads any length: then the tokens before its
    window are forgotten, and memory stays as it is.

    The cache takes 2 n_layer n_kv_head head_dim numbers for a token. Memory grows with the longest text.
    """

    def __init__(self, config: GPTConfig, batch_size: int = 1, dtype: npt.DTypeLike = np.float32) -> None:
        self.config, self.is_part = config, False
        self.used = np.zeros(batch_size, np.int64)
        """How many slots each text uses, (B,)."""
        self.positions = np.zeros(batch_size, np.int64)
        """How many tokens of each text the model has read, (B,)."""
        self._allocate(0, dtype)

    @property
    def batch_size(self) -> int:
        """The number of texts, B."""
        return len(self.used)

    @property
    def slots(self) -> int:
        """How many tokens of each text there is memory for, S."""
        return self.values.shape[-2]

    def layer(self, number: int) -> KeysAndValues:
        """What the attention of one layer sees: views."""
        return KeysAndValues(self.keys[number], self.values[number], self.used, self.positions)

    def make_room(self, tokens: int) -> None:
        """Makes sure that so many further tokens of each text fit.

        Raises ValueError if they are more than ``block_size`` with those read, and the model does not read any length.
        """
        reads_any_length, block_size = self.config.reads_any_length, self.config.block_size
        longest = int(self.positions.max(initial=0)) + tokens
        if longest > block_size and not reads_any_length:
            raise ValueError(f"GPT: {longest} tokens are more than block_size {block_size}")
        if reads_any_length and int(self.used.max(initial=0)) + tokens > self.slots:
            self._forget()
        needed = int(self.used.max(initial=0)) + tokens
        if needed > self.slots:
            most = max(2 * self.config.window, needed, _FEWEST_SLOTS) if reads_any_length else block_size
            self._grow(min(max(2 * self.slots, needed, _FEWEST_SLOTS), most))

    def advance(self, tokens: int) -> None:
        """Counts so many tokens of each text as read, once all layers have written their keys and values."""
        self.used += tokens
        self.positions += tokens

    def part(self, texts: slice) -> "KVCache":
        """The cache of some of the texts. It shares this one's memory, and cannot grow: make room here first."""
        part = object.__new__(KVCache)
        part.config, part.is_part = self.config, True
        part.used, part.positions = self.used[texts], self.positions[texts]
        part.keys, part.values = self.keys[:, texts], self.values[:, texts]
        return part

    def clear(self, text: int) -> None:
        """Forgets all tokens of a text."""
        self.used[text] = self.positions[text] = 0

    def copy(self, text: int, other: int) -> None:
        """Gives one text the tokens of another."""
        used = self.used[text] = self.used[other]
        self.positions[text] = self.positions[other]
        self.keys[:, text, ..., :used] = self.keys[:, other, ..., :used]
        self.values[:, text, :, :used] = self.values[:, other, :, :used]

    def drop(self, text: int) -> None:
        """Removes a text; the last one takes its place."""
        last = self.batch_size - 1
        if text != last:
            self.copy(text, last)
        self.used, self.positions = self.used[:last], self.positions[:last]
        self.keys, self.values = self.keys[:, :last], self.values[:, :last]

    def _allocate(self, slots: int, dtype: npt.DTypeLike) -> None:
        shape = (self.config.n_layer, self.batch_size, self.config.kv_heads)
        self.keys: Array = np.empty((*shape, self.config.head_size, slots), dtype)
        self.values: Array = np.empty((*shape, slots, self.config.head_size), dtype)

    def _grow(self, slots: int) -> None:
        if self.is_part:
            raise RuntimeError("KVCache: a part of a cache cannot grow; make room in the whole cache")
        keys, values, used = self.keys, self.values, int(self.used.max(initial=0))
        self._allocate(slots, keys.dtype)
        self.keys[..., :used], self.values[..., :used, :] = keys[..., :used], values[..., :used, :]

    def _forget(self) -> None:
        """Moves what the next token's window still sees to the first slots."""
        for text, used in enumerate(self.used.tolist()):
            kept = min(used, self.config.window - 1)
            self.keys[:, text, ..., :kept] = self.keys[:, text, ..., used - kept : used].copy()
            self.values[:, text, :, :kept] = self.values[:, text, :, used - kept : used].copy()
            self.used[text] = kept
