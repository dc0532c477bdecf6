"""A GPT in plain PyTorch, whose gradients autograd finds: ours is compared with it.

It is written independently of ours, from the definitions of its parts and with PyTorch's own layers. Only the names of
the parameters are the same, so that they can be paired.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from handgrad.models import GPTConfig, LanguageModel
from handgrad.nn import Parameter


class ReLUSquared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class SwiGLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up


NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
ACTIVATIONS = {
    "gelu": nn.GELU(approximate="tanh"),
    "gelu_exact": nn.GELU(),
    "relu": nn.ReLU(),
    "relu_squared": ReLUSquared(),
    "silu": nn.SiLU(),
    "swiglu": SwiGLU(),
}


class Rotary(nn.Module):
    """As Hugging Face's models turn queries and keys: component i is paired with i + D/2."""

    def __init__(self, head_dim: int, block_size: int, base: float) -> None:
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.outer(torch.arange(block_size, dtype=torch.float64), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[-2]
        first, second = x.chunk(2, dim=-1)
        return x * self.cos[:T] + torch.cat([-second, first], dim=-1) * self.sin[:T]


class Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.n_kv_head = config.n_head, config.n_kv_head or config.n_head
        self.head_dim = config.head_dim or config.n_embd // config.n_head
        inner = self.n_head * self.head_dim
        self.project_in = nn.Linear(config.n_embd, inner + 2 * self.n_kv_head * self.head_dim, bias=config.bias)
        self.project_out = nn.Linear(inner, config.n_embd, bias=config.bias)
        self.scale, self.qk_norm, self.eps = config.attention_scale, config.qk_norm, config.norm_eps
        self.dropout = nn.Dropout(config.dropout)
        rotary = config.positions == "rotary"
        self.rotary = Rotary(self.head_dim, config.block_size, config.rope_base) if rotary else None
        distance = torch.arange(config.block_size)[:, None] - torch.arange(config.block_size)
        seen = (distance >= 0) & (distance < config.window) if config.window else None
        self.register_buffer("seen", seen, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]
        parts = self.project_in(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = parts.split([self.n_head, self.n_kv_head, self.n_kv_head], dim=1)
        if self.qk_norm:
            q, k = (F.rms_norm(each, (self.head_dim,), eps=self.eps) for each in (q, k))
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        seen = None if self.seen is None else self.seen[:T, :T]
        shared = self.n_kv_head != self.n_head  # then query head h uses key head h // (n_head / n_kv_head)
        dropped = self.dropout.p if self.training else 0.0
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, dropout_p=dropped, is_causal=seen is None, scale=self.scale, enable_gqa=shared
        )
        return self.dropout(self.project_out(y.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        gated = config.activation == "swiglu"
        n_hidden = config.n_hidden or (8 * ((config.n_embd + 2) // 3) if gated else 4 * config.n_embd)
        self.expand = nn.Linear(config.n_embd, 2 * n_hidden if gated else n_hidden, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.contract = nn.Linear(n_hidden, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(self.activation(self.expand(x))))


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm_1 = NORMS[config.norm](config.n_embd, eps=config.norm_eps)
        self.attention = Attention(config)
        self.norm_2 = NORMS[config.norm](config.n_embd, eps=config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.feed_forward(self.norm_2(x))


class TokenShift(nn.Module):
    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * F.pad(x, (0, 0, 1, 0))[:, :-1]


class TorchGPT(nn.Module):
    """A GPT with the options of ours. Dropout stands in the same places, but PyTorch draws other random numbers."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        learned = config.positions == "learned"
        self.position_embedding = nn.Embedding(config.block_size, config.n_embd) if learned else None
        self.token_shift = TokenShift(config.n_embd) if config.token_shift else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = NORMS[config.norm](config.n_embd, eps=config.norm_eps)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=config.bias and not config.tie_weights)
        if config.tie_weights:
            self.head.weight = self.token_embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        config = self.config
        x = self.token_embedding(ids)
        if config.embedding_scale != 1:
            x = x * config.embedding_scale
        if self.position_embedding is not None:
            x = x + self.position_embedding(torch.arange(ids.shape[1]))
        if config.embedding_norm:
            x = F.rms_norm(x, (config.n_embd,), eps=config.norm_eps)
        if self.token_shift is not None:
            x = self.token_shift(x)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return config.logit_cap * torch.tanh(logits / config.logit_cap) if config.logit_cap else logits

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self(ids).flatten(0, 1), targets.flatten())


def torch_twin(ours: LanguageModel) -> TorchGPT:
    """The same GPT in PyTorch, with a copy of its weights."""
    theirs = TorchGPT(ours.config).to(torch.from_numpy(ours.arena.data).dtype)
    with torch.no_grad():
        for _, parameter, tensor in paired(ours, theirs):
            tensor.copy_(torch.tensor(parameter.data))
    return theirs


def paired(ours: LanguageModel, theirs: TorchGPT, grad: bool = False) -> Iterator[tuple[str, Parameter, Tensor]]:
    """Every parameter once: its name, ours, and a view of torch's value (or gradient) in our orientation.

    The weight of a linear layer is (in, out) in ours and (out, in) in torch. A table, and so the head's weight, is
    (V, C) in both.
    """
    named = dict(theirs.named_parameters())
    assert named.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        tensor = named[name].grad if grad else named[name].detach()
        assert tensor is not None
        owner, _, kind = name.rpartition(".")
        turned = isinstance(theirs.get_submodule(owner), nn.Linear) and kind == "weight" and owner != "head"
        yield name, parameter, tensor.T if turned else tensor
