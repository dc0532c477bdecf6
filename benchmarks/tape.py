"""The cost of the tape: one training step, ours and another's in turn, as the median of the ratios.

    python benchmarks/tape.py            examples/gpt2.py against the same model written the same way in PyTorch,
                                         and models.GPT on the tape against by hand

PyTorch runs eager, in float32, with unfused attention, like the example. A time covers forward, backward and AdamW's
step, in one process on the same cores.
"""

import importlib.util
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

import handgrad
from handgrad import optim
from handgrad.models import GPT, GPTConfig

ROUNDS = 15
VOCAB_SIZE, CONTEXT, BLOCKS, HEADS, WIDTH, BATCH = 69, 64, 6, 6, 288, 32
Step = Callable[[], float]


def example() -> ModuleType:
    """examples/gpt2.py as a module."""
    path = Path(__file__).parent.parent / "examples" / "gpt2.py"
    spec = importlib.util.spec_from_file_location("gpt2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpt2"] = module
    spec.loader.exec_module(module)
    return module


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCAB_SIZE, (BATCH, CONTEXT + 1))
    return ids[:, :-1], ids[:, 1:]


def example_step() -> tuple[Step, dict[str, np.ndarray]]:
    """The example's training step at its defaults, and the weights it starts from."""
    gpt2 = example()
    handgrad.manual_seed(0)
    model = gpt2.GPT2(gpt2.GPT2Config(VOCAB_SIZE, CONTEXT, BLOCKS, HEADS, WIDTH, 0.0))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    x, y = batch()

    def step() -> float:
        loss = handgrad.cross_entropy(model(handgrad.tensor(x)), handgrad.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step, model.state_dict()


def torch_step(weights: dict[str, np.ndarray]) -> Step:
    """The same model in PyTorch, line by line, from the same weights."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.attention_dropout, self.dropout = nn.Dropout(0.0), nn.Dropout(0.0)
            self.register_buffer("future", torch.ones(CONTEXT, CONTEXT).triu(1).bool(), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            B, T, C = x.shape
            q, k, v = (part.view(B, T, HEADS, C // HEADS).transpose(1, 2) for part in self.qkv(x).split(C, dim=2))
            scores = q @ k.transpose(-2, -1) / math.sqrt(C // HEADS)
            scores = scores.masked_fill(self.future[:T, :T], float("-inf"))
            weights = self.attention_dropout(scores.softmax(dim=-1))
            return self.dropout(self.project((weights @ v).transpose(1, 2).reshape(B, T, C)))

    class MLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expand, self.contract = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
            self.dropout = nn.Dropout(0.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.dropout(self.contract(F.gelu(self.expand(x), approximate="tanh")))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.attention = nn.LayerNorm(WIDTH), Attention()
            self.norm_2, self.mlp = nn.LayerNorm(WIDTH), MLP()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.attention(self.norm_1(x))
            return x + self.mlp(self.norm_2(x))

    class GPT2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCAB_SIZE, WIDTH), nn.Embedding(CONTEXT, WIDTH)
            self.dropout = nn.Dropout(0.0)
            self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB_SIZE, bias=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            return self.head(self.norm(self.blocks(self.dropout(x))))

    model = GPT2()
    state = {}
    for name, value in weights.items():
        is_linear = value.ndim == 2 and not name.startswith(("tokens", "positions"))
        state[name] = torch.tensor(value.T.copy() if is_linear else value)
    model.load_state_dict(state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, y = (torch.tensor(array) for array in batch())

    def step() -> float:
        loss = F.cross_entropy(model(x).view(-1, VOCAB_SIZE), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def gpt_steps(config: GPTConfig, batch_size: int) -> tuple[Step, Step]:
    """models.GPT on the tape and by hand, from one seed on one batch."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.vocab_size, (batch_size, config.block_size + 1))
    x, y = ids[:, :-1], ids[:, 1:]
    taped, by_hand = GPT(config, seed=1), GPT(config, seed=1)
    optimizers = [optim.AdamW(model.decay_groups(0.1), lr=1e-3) for model in (taped, by_hand)]

    def on_the_tape() -> float:
        taped.zero_grad()
        loss = taped.loss(handgrad.tensor(x), handgrad.tensor(y))
        loss.backward()
        optimizers[0].step()
        return float(loss.item())

    def hand() -> float:
        by_hand.zero_grad()
        loss = by_hand.loss(x, y)
        by_hand.backward()
        optimizers[1].step()
        return float(loss)

    return on_the_tape, hand


def compare(name: str, ours: Step, other: Step, rounds: int = ROUNDS) -> None:
    """Prints the median of ours ÷ other over rounds in which each runs once, after a round that does not count."""
    apart, ratios, times = 0.0, [], []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        a = ours()
        between = time.perf_counter()
        b = other()
        ended = time.perf_counter()
        apart = max(apart, abs(a - b))
        ratios.append((between - begun) / (ended - between))
        times.append((between - begun, ended - between))
    first, second = (statistics.median(side) for side in zip(*times[1:], strict=True))
    print(
        f"{name}: {statistics.median(ratios[1:]):.2f} "
        f"({first * 1000:.0f} ms to {second * 1000:.0f} ms; losses at most {apart:.1e} apart)"
    )


def main() -> None:
    shapes = {
        "shakespeare-cpu": (GPTConfig(69, 64, 4, 4, 128, bias=False), 12, 60),
        "explicit-char": (GPTConfig(69, 128, 4, 4, 256, activation="relu", tie_weights=False), 16, 12),
        "autograd-char": (GPTConfig(69, 64, 6, 6, 288, bias=False, tie_weights=False), 32, 12),
    }
    for name, (config, batch_size, rounds) in shapes.items():
        compare(f"models.GPT at {name}, tape ÷ by hand", *gpt_steps(config, batch_size), rounds)
    if importlib.util.find_spec("torch") is None:
        print("examples/gpt2.py ÷ PyTorch: PyTorch is not installed")
        return
    ours, weights = example_step()
    compare("examples/gpt2.py at its defaults ÷ PyTorch eager", ours, torch_step(weights))


if __name__ == "__main__":
    main()
