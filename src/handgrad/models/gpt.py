"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"), forward and backward.

Fields of the configuration turn it, one by one, into the GPT of today; each default is what GPT-2 does.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad.autograd import Tensor, is_grad_enabled
from handgrad.models.cache import KVCache
from handgrad.models.config import GPTConfig
from handgrad.models.formats.gpt2_names import gpt2_name
from handgrad.models.language_model import LanguageModel
from handgrad.nn import (
    ArrayOrTensor,
    Dropout,
    Embedding,
    Linear,
    Parameter,
    RMSNorm,
    TanhCap,
    TokenShift,
    TransformerBlock,
    Unembedding,
    init,
    new_norm,
)


class GPT(LanguageModel):
    """Token and position embeddings, n_layer pre-normalised transformer blocks, a final norm, an output head.

    Initialised as GPT-2: weights from N(0, 0.02²), those that write to the residual stream scaled by 1/√(2 n_layer),
    biases 0. ``embedding_std``, ``matrix_std`` and ``zero_init`` change it. One seed gives one model; its float32
    values are the rounded float64 values.
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0, dtype: npt.DTypeLike = np.float32) -> None:
        rng = np.random.default_rng(seed)
        C, V = config.n_embd, config.vocab_size
        made: dict[str, Any] = {"rng": rng, "dtype": dtype}
        self.token_embedding = Embedding(V, C, **made)
        self.position_embedding = Embedding(config.block_size, C, **made) if config.positions == "learned" else None
        self.embedding_norm = RMSNorm(C, config.norm_eps, elementwise_affine=False) if config.embedding_norm else None
        self.token_shift = TokenShift(C, dtype=dtype) if config.token_shift else None
        self.dropout = Dropout(config.dropout, rng=rng)
        self.blocks = [
            TransformerBlock(
                C,
                config.n_head,
                config.bias,
                config.dropout,
                config.activation,
                config.norm,
                n_hidden=config.n_hidden,
                norm_eps=config.norm_eps,
                precision=config.precision,
                **config.attention,
                **made,
            )
            for _ in range(config.n_layer)
        ]
        self.norm = new_norm(config.norm, C, config.norm_eps, dtype=dtype)
        if config.tie_weights:
            table, has_bias = self.token_embedding.weight, False
        else:
            table, has_bias = Parameter(np.empty((V, C), dtype), role="head"), config.bias
        self.head = Unembedding(table, has_bias, precision=config.precision)
        self.cap = TanhCap(config.logit_cap) if config.logit_cap else None
        self._initialise(config, rng)
        super().__init__(config)

    def forward(self, ids: ArrayOrTensor, kv_cache: KVCache | None = None) -> ArrayOrTensor:
        """Logits (B, T, V) for the token after each of ids (B, T); T ≤ block_size, unless the model reads any length.

        With ``kv_cache``, under ``no_grad``, the ids follow the tokens that the cache has of each text. They are added
        to it, and the logits (B, 1, V) are those of the last token alone.

        Raises ValueError for ids that have no two axes, are too many or do not fit the cache.
        """
        self._check(ids, kv_cache)
        T = ids.shape[1]
        x = self.token_embedding(ids)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        if self.position_embedding is not None:
            positions = np.arange(T) if isinstance(ids, Tensor) else np.arange(T, like=ids)
            if kv_cache is not None:
                positions = kv_cache.positions[:, None] + positions
            x = x + self.position_embedding(Tensor(positions) if isinstance(ids, Tensor) else positions)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        last = None
        if self.token_shift is not None:
            if kv_cache is None:
                x = self.token_shift(x)
            else:
                last, x = x[:, -1], self.token_shift(x, kv_cache.before)
        x = self.dropout(x)
        for number, block in enumerate(self.blocks):
            x = block(x) if kv_cache is None else block(x, kv_cache=kv_cache.layer(number))
        if kv_cache is not None:
            kv_cache.advance(T, last)
            x = x[:, -1:]
        x = self.norm(x)
        logits = self.head(x)
        return logits if self.cap is None else self.cap(logits)

    def backward(self, dy: Any = 1.0) -> None:
        """Adds to every gradient. ``dy`` is ∂L/∂loss after ``loss``, and ∂L/∂logits after a call of the model."""
        dx = self.d_logits(dy)
        if self.cap is not None:
            dx = self.cap.backward(dx)
        dx = self.head.backward(dx)
        dx = self.norm.backward(dx)
        for block in reversed(self.blocks):
            dx = block.backward(dx)
        dx = self.dropout.backward(dx)
        if self.token_shift is not None:
            dx = self.token_shift.backward(dx)
        if self.embedding_norm is not None:
            dx = self.embedding_norm.backward(dx)
        # x is a sum of both embeddings, so both receive dx; all sequences of the batch share the position embeddings.
        if self.position_embedding is not None:
            self.position_embedding.backward(dx.sum(axis=0))
        if self.config.embedding_scale != 1:
            dx = dx * self.config.embedding_scale
        self.token_embedding.backward(dx)

    def _check(self, ids: ArrayOrTensor, kv_cache: KVCache | None) -> None:
        """Raises the errors that forward lists, and makes room in the cache."""
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids must have shape (B, T), not {ids.shape}")
        B, T = ids.shape
        if kv_cache is None:
            if self.config.block_size < T and not self.config.reads_any_length:
                raise ValueError(f"GPT: {T} tokens are more than block_size {self.config.block_size}")
            return
        if is_grad_enabled():
            raise RuntimeError("GPT: kv_cache needs no_grad(): the keys and values of earlier calls have no gradient")
        kv_cache.check(self.config, B, self.arena.data.dtype)
        if not T:
            raise ValueError(f"GPT: ids {ids.shape} have no token for the cache")
        kv_cache.make_room(T)

    def stored_name(self, name: str) -> str:
        """The name in GPT-2's published checkpoints."""
        return gpt2_name(name)

    def _initialise(self, config: GPTConfig, rng: np.random.Generator) -> None:
        for module in self.modules():
            if isinstance(module, Linear | Embedding | Unembedding):
                is_table = module.weight.role == "embedding"
                init.normal(module.weight, std=config.embedding_std if is_table else config.matrix_std, rng=rng)
            if isinstance(module, Linear) and module.bias is not None:
                init.zeros(module.bias)
        std = 0.0 if config.zero_init else config.matrix_std / math.sqrt(2 * config.n_layer)
        for block in self.blocks:
            for projection in (block.attention.project_out, block.feed_forward.contract):
                init.normal(projection.weight, std=std, rng=rng)
        if config.zero_init and not config.tie_weights:
            init.zeros(self.head.weight)
