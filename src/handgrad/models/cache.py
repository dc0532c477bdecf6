"""The key/value cache: what attention needs of the tokens that a model has read, so that it reads each only once."""

import numpy as np
import numpy.typing as npt

from handgrad.models.config import GPTConfig
from handgrad.nn import ArrayOrTensor
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.system.arrays import Array

_FEWEST_SLOTS = 64


class KVCache:
    """Keys and values of B texts in every layer, an argument of the model's ``forward`` under ``no_grad``.

    Each call of the model reads further tokens, the same number of each text, and writes their keys and values behind
    those that are there. A layer attends to no other token of the text, so that the logits are those of the whole text.

    A text may have at most ``config.block_size`` tokens, unless the model reads any length: then the tokens before its
    window are forgotten, and memory stays as it is.

    The cache takes 2 n_layer n_kv_head head_dim numbers for a token. Memory grows with the longest text. For a model
    with ``token_shift`` it also keeps the embedding of each text's last token, n_embd numbers.
    """

    def __init__(self, config: GPTConfig, batch_size: int = 1, dtype: npt.DTypeLike = np.float32) -> None:
        self.config = config
        self.texts = np.arange(batch_size)
        """Where in memory each text lies, (B,)."""
        self._memory = _Memory(config, batch_size, 0, dtype)

    @staticmethod
    def bytes_of_text(config: GPTConfig) -> int:
        """The memory of a whole block of one text, in float32."""
        keys_and_values = 2 * config.n_layer * config.kv_heads * config.head_size * config.block_size
        return 4 * (keys_and_values + config.n_embd * config.token_shift)

    @property
    def batch_size(self) -> int:
        """The number of texts, B."""
        return len(self.texts)

    @property
    def slots(self) -> int:
        """How many tokens of each text there is memory for, S."""
        return self._memory.values.shape[-2]

    @property
    def used(self) -> Array:
        """How many slots of each text hold a token, (B,)."""
        return self._memory.used[self.texts]

    @property
    def positions(self) -> Array:
        """How many tokens of each text the model has read, (B,)."""
        return self._memory.positions[self.texts]

    @property
    def before(self) -> Array | None:
        """The embedding of each text's last token, (B, C), zeros for a text without tokens; None for a model without
        ``token_shift``.
        """
        return None if self._memory.before is None else self._memory.before[self.texts]

    @property
    def all_layers(self) -> KeysAndValues:
        """What attention sees, as ``layer``, with an axis for the layers before the others of keys and values."""
        memory = self._memory
        return KeysAndValues(memory.keys, memory.values, self.texts, memory.used, memory.positions)

    def layer(self, number: int) -> KeysAndValues:
        """What the attention of one layer sees: the memory itself."""
        every = self.all_layers
        return every._replace(keys=every.keys[number], values=every.values[number])

    def check(self, config: GPTConfig, texts: int, dtype: npt.DTypeLike) -> None:
        """Raises ValueError if a model of this configuration and dtype cannot write so many texts into this cache."""
        if self.config is not config and self.config != config:
            raise ValueError(
                "GPT: the cache was made for a model with other settings: KVCache(model.config, batch_size)"
            )
        if self._memory.keys.dtype != dtype:
            raise ValueError(f"GPT: the cache is of {self._memory.keys.dtype}, and the model of {np.dtype(dtype)}")
        if self.batch_size != texts:
            raise ValueError(f"GPT: ids of {texts} texts must be further tokens of the cache's {self.batch_size} texts")

    def make_room(self, tokens: int | Array) -> None:
        """Makes sure that so many further tokens fit, of every text, or of each its own number (B,).

        Raises ValueError if they are more than ``block_size`` with those read, and the model does not read any length.
        """
        reads_any_length, block_size = self.config.reads_any_length, self.config.block_size
        longest = int((self.positions + tokens).max(initial=0))
        if longest > block_size and not reads_any_length:
            raise ValueError(f"GPT: {longest} tokens are more than block_size {block_size}")
        if reads_any_length and int((self.used + tokens).max(initial=0)) > self.slots:
            self._forget()
        needed = int((self.used + tokens).max(initial=0))
        if needed > self.slots:
            most = max(2 * self.config.window, needed, _FEWEST_SLOTS) if reads_any_length else block_size
            self._memory.grow(self.config, min(max(2 * self.slots, needed, _FEWEST_SLOTS), most))

    def advance(self, tokens: int, last: ArrayOrTensor | None = None) -> None:
        """Counts so many tokens of each text as read, once all layers have written their keys and values.

        ``last`` (B, C) has the embedding of each text's last token, if the model has ``token_shift``.
        """
        self._memory.used[self.texts] += tokens
        self._memory.positions[self.texts] += tokens
        if self._memory.before is not None:
            self._memory.before[self.texts] = last

    def part(self, texts: slice) -> "KVCache":
        """The cache of some of the texts, in the same memory."""
        part = object.__new__(KVCache)
        part.config, part.texts, part._memory = self.config, self.texts[texts], self._memory
        return part

    def clear(self, text: int) -> None:
        """Forgets all tokens of a text."""
        place = self.texts[text]
        self._memory.used[place] = self._memory.positions[place] = 0
        if self._memory.before is not None:
            self._memory.before[place] = 0

    def copy(self, text: int, other: int) -> None:
        """Gives one text the tokens of another."""
        self._memory.copy(self.texts[text], self.texts[other])

    def drop(self, text: int) -> None:
        """Removes a text; the last one takes its place."""
        texts = self.texts.copy()  # a part's are a view
        texts[text] = texts[-1]
        self.texts = texts[:-1]

    def _forget(self) -> None:
        """Moves what the next token's window still sees to the first slots."""
        memory = self._memory
        for text in self.texts.tolist():
            used = int(memory.used[text])
            kept = min(used, self.config.window - 1)
            for each in (memory.keys, memory.values):
                each[:, text, :, :kept] = each[:, text, :, used - kept : used].copy()
            memory.used[text] = kept


class _Memory:
    """The arrays of a cache, which its parts share."""

    def __init__(self, config: GPTConfig, texts: int, slots: int, dtype: npt.DTypeLike) -> None:
        self.used = np.zeros(texts, np.int64)
        self.positions = np.zeros(texts, np.int64)
        self.before: Array | None = np.zeros((texts, config.n_embd), dtype) if config.token_shift else None
        self._allocate(config, slots, dtype)

    def _allocate(self, config: GPTConfig, slots: int, dtype: npt.DTypeLike) -> None:
        shape = (config.n_layer, len(self.used), config.kv_heads, slots, config.head_size)
        self.keys: Array = np.empty(shape, dtype)
        self.values: Array = np.empty(shape, dtype)

    def grow(self, config: GPTConfig, slots: int) -> None:
        keys, values, used = self.keys, self.values, int(self.used.max(initial=0))
        self._allocate(config, slots, keys.dtype)
        self.keys[..., :used, :], self.values[..., :used, :] = keys[..., :used, :], values[..., :used, :]

    def copy(self, text: int, other: int) -> None:
        used = self.used[text] = self.used[other]
        self.positions[text] = self.positions[other]
        for each in (self.keys, self.values):
            each[:, text, :, :used] = each[:, other, :, :used]
        if self.before is not None:
            self.before[text] = self.before[other]
