"""A GPT in plain PyTorch, whose gradients autograd finds: ours is compared with it.

It is written independently of ours, with PyTorch's own layers. Only the names of the parameters are the same, so that
they can be paired.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from handgrad.models import GPTConfig, LanguageModel
from handgrad.nn import Parameter

NORMS = {"layer": nn.LayerNorm}
ACTIVATIONS = {"gelu": nn.GELU(approximate="tanh"), "gelu_exact": nn.GELU(), "relu": nn.ReLU()}


class Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.project_in = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.project_out = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        shape = (B, T, self.n_head, C // self.n_head)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.project_in(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.project_out(y.transpose(1, 2).reshape(B, T, C))


class FeedForward(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.contract = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(x)))


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm_1 = NORMS[config.norm](config.n_embd)
        self.attention = Attention(config)
        self.norm_2 = NORMS[config.norm](config.n_embd)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.feed_forward(self.norm_2(x))


class TorchGPT(nn.Module):
    """GPT-2 with the options of our GPT except dropout, whose random numbers cannot be compared."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        assert config.dropout == 0
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = NORMS[config.norm](config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=config.bias and not config.tie_weights)
        if config.tie_weights:
            self.head.weight = self.token_embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.position_embedding(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

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
