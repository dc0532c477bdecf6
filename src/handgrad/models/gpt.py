"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"), forward and backward."""

import copy
import math
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from handgrad.autograd import Tensor
from handgrad.errors import InputError
from handgrad.models.arena import Arena
from handgrad.nn import (
    ArrayOrTensor,
    CrossEntropyLoss,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    TransformerBlock,
    Unembedding,
    init,
    is_on_tape,
)
from handgrad.nn.layers import Activation

_TOO_LARGE = 1 << 31


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    ``bias`` is that of the linear layers, and of an output head that is not tied to the token embedding; LayerNorm
    always has gain and bias. ``activation``: gelu (tanh form), gelu_exact or relu.

    Raises InputError for sizes that make no model.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    bias: bool = True
    activation: Activation = "gelu"
    tie_weights: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if type(value) is not int:
                raise InputError(f"{name} must be an integer, not {value!r}")
            if value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
            if value >= _TOO_LARGE:
                raise InputError(f"{name} must be less than {_TOO_LARGE:,}, not {str(value)[:30]}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), not {self.dropout}")
        if self.activation not in get_args(Activation):
            raise InputError(f"activation must be {' or '.join(get_args(Activation))}, not {self.activation!r}")

    @property
    def n_parameters(self) -> int:
        """How many numbers a model of this shape learns, known before it is made."""
        C, bias = self.n_embd, int(self.bias)
        norm, attention, feed_forward = 2 * C, 4 * C * C + bias * 4 * C, 8 * C * C + bias * 5 * C
        blocks = self.n_layer * (2 * norm + attention + feed_forward)
        head = 0 if self.tie_weights else self.vocab_size * (C + bias)
        return (self.vocab_size + self.block_size) * C + blocks + norm + head


class GPT(Module):
    """Token and position embeddings, n_layer pre-normalised transformer blocks, a final norm, an output head.

    Starts as GPT-2 does: weights from N(0, 0.02²), those that write to the residual stream scaled by 1/√(2 n_layer),
    biases 0. One seed gives one model, in float32 the rounded values of float64.
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0, dtype: npt.DTypeLike = np.float32) -> None:
        rng = np.random.default_rng(seed)
        C, V = config.n_embd, config.vocab_size
        made: dict[str, Any] = {"rng": rng, "dtype": dtype}
        self.config = config
        self.token_embedding = Embedding(V, C, **made)
        self.position_embedding = Embedding(config.block_size, C, **made)
        self.dropout = Dropout(config.dropout, rng=rng)
        self.blocks = [
            TransformerBlock(C, config.n_head, config.bias, config.dropout, config.activation, **made)
            for _ in range(config.n_layer)
        ]
        self.norm = LayerNorm(C, dtype=dtype)
        if config.tie_weights:
            self.head = Unembedding(self.token_embedding.weight)
        else:
            self.head = Unembedding(Parameter(np.empty((V, C), dtype), role="head"), config.bias)
        self.cross_entropy = CrossEntropyLoss()
        self._initialise(rng)
        self.arena = Arena(sorted(self.parameters(), key=lambda parameter: not _is_decayed(parameter)))

    def forward(self, ids: ArrayOrTensor) -> ArrayOrTensor:
        """Logits (B, T, V) for the token after each of ids (B, T), T ≤ block_size."""
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids must have shape (B, T), not {ids.shape}")
        if ids.shape[1] > self.config.block_size:
            raise ValueError(f"GPT: {ids.shape[1]} tokens are more than block_size {self.config.block_size}")
        positions = np.arange(ids.shape[1])
        x = self.token_embedding(ids) + self.position_embedding(Tensor(positions) if is_on_tape(ids) else positions)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x)

    def loss(self, ids: Any, targets: Any) -> Any:
        """Mean cross entropy in nats of targets (B, T), the tokens that follow ids (B, T).

        A float by hand; of a Tensor of ids a Tensor, whose own ``backward()`` is the way back.
        """
        if is_on_tape(targets) and not is_on_tape(ids):
            ids = Tensor(ids)
        loss = self.cross_entropy(self(ids), targets)
        return loss if is_on_tape(loss) else float(loss)

    def __call__(self, ids: Any) -> Any:
        return super().__call__(ids if is_on_tape(ids) else np.asarray(ids))

    def backward(self, dy: Any = 1.0) -> None:
        """Adds to every gradient: from ∂L/∂loss after ``loss``, from ∂L/∂logits after a call of the model."""
        if self.cross_entropy.awaits_backward and np.ndim(dy) != 0:
            raise ValueError(
                "GPT: after loss, backward takes ∂L/∂loss, a number; after a call of the model, ∂L/∂logits"
            )
        d_logits = self.cross_entropy.backward(dy) if self.cross_entropy.awaits_backward else dy
        if self.head.awaits_backward and np.ndim(d_logits) != 3:
            raise ValueError("GPT: after a call of the model, backward needs ∂L/∂logits (B, T, V); after loss, nothing")
        dx = self.head.backward(d_logits)
        dx = self.norm.backward(dx)
        for block in reversed(self.blocks):
            dx = block.backward(dx)
        dx = self.dropout.backward(dx)
        # The sum of the two embeddings gives dx to both; one row of positions served the whole batch.
        self.position_embedding.backward(dx.sum(axis=0))
        self.token_embedding.backward(dx)

    def decay_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: matrices and embeddings decay, biases and gains do not."""
        return [
            {"params": [p for p in self.arena.parameters if _is_decayed(p)], "weight_decay": weight_decay},
            {"params": [p for p in self.arena.parameters if not _is_decayed(p)], "weight_decay": 0.0},
        ]

    def replica(self) -> Self:
        """A model that shares these parameters, and owns its gradients and what its layers keep."""
        shared: dict[int, Any] = {id(array): array for p in self.parameters() for array in (p.data, p.grad)}
        shared |= {id(self.arena): self.arena}
        twin = object.__new__(type(self))
        twin.__dict__ = copy.deepcopy(self.__dict__, shared)
        twin.forget()
        names = {id(p): name for name, p in self.named_parameters()}
        twins = dict(twin.named_parameters())
        twin.arena = self.arena.share([twins[names[id(p)]] for p in self.arena.parameters])
        return twin

    def zero_grad(self) -> None:
        """Fills all gradients with zeros."""
        self.arena.grad[...] = 0

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned."""
        return self.arena.data.size

    def _initialise(self, rng: np.random.Generator) -> None:
        for module in self.modules():
            if isinstance(module, Linear | Embedding | Unembedding):
                init.normal(module.weight, std=0.02, rng=rng)
            if isinstance(module, Linear) and module.bias is not None:
                init.zeros(module.bias)
        for block in self.blocks:
            for projection in (block.attention.project_out, block.feed_forward.contract):
                init.normal(projection.weight, std=0.02 / math.sqrt(2 * self.config.n_layer), rng=rng)


def _is_decayed(parameter: Parameter) -> bool:
    return parameter.role != "vector"
