"""A GPT-2 in tensors alone, read beside the paper (Radford et al. 2019), trained on a text.

python examples/gpt2.py                                   learns Python's own reference text
python examples/gpt2.py --text FILE --out runs/gpt2       learns a file and keeps checkpoints
python examples/gpt2.py --resume runs/gpt2                goes on with that
"""

import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

import handgrad
from handgrad import Tensor, nn, no_grad, optim
from handgrad.data import Corpus, load_dataset, load_text, random_batch, sequential_batches
from handgrad.errors import InputError
from handgrad.tokenizers import Tokenizer, load_tokenizer, make_tokenizer


@dataclass(frozen=True)
class GPT2Config:
    """The shape of the model."""

    vocab_size: int
    context_size: int
    num_blocks: int
    num_heads: int
    embedding_dim: int
    dropout: float


class CausalSelfAttention(nn.Module):
    """Each token looks at itself and at those before it, in num_heads subspaces."""

    def __init__(self, config: GPT2Config) -> None:
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embedding_dim, 3 * config.embedding_dim)
        self.project = nn.Linear(config.embedding_dim, config.embedding_dim)
        self.attention_dropout = nn.Dropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        # True above the diagonal: what lies in the future.
        self.future = nn.Buffer(handgrad.ones(config.context_size, config.context_size).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.num_heads, C // self.num_heads).transpose(1, 2)  # (B, H, T, D)
            for part in self.qkv(x).split(C, dim=2)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(C // self.num_heads)  # (B, H, T, T)
        scores = scores.masked_fill(self.future[:T, :T], float("-inf"))
        weights = self.attention_dropout(scores.softmax(axis=-1))
        y = (weights @ v).transpose(1, 2).reshape(B, T, C)
        return self.dropout(self.project(y))


class MLP(nn.Module):
    """Each token by itself: four times as wide, a GELU, and back."""

    def __init__(self, config: GPT2Config) -> None:
        self.expand = nn.Linear(config.embedding_dim, 4 * config.embedding_dim)
        self.contract = nn.Linear(4 * config.embedding_dim, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(handgrad.gelu(self.expand(x))))


class Block(nn.Module):
    """Attention, then the MLP, each on a normalised input and added to what came in."""

    def __init__(self, config: GPT2Config) -> None:
        self.norm_1 = nn.LayerNorm(config.embedding_dim)
        self.attention = CausalSelfAttention(config)
        self.norm_2 = nn.LayerNorm(config.embedding_dim)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        x = x + self.mlp(self.norm_2(x))
        return x


class GPT2(nn.Module):
    """Logits (B, T, V) for the token after each of ids (B, T)."""

    def __init__(self, config: GPT2Config) -> None:
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.embedding_dim)
        self.positions = nn.Embedding(config.context_size, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.num_blocks)))
        self.norm = nn.LayerNorm(config.embedding_dim)
        self.head = nn.Linear(config.embedding_dim, config.vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # Projections into the residual stream start smaller, as each block adds two (section 2.3).
                into_residual = name.endswith(("project.weight", "contract.weight"))
                nn.init.normal(parameter, std=0.02 / math.sqrt(2 * config.num_blocks) if into_residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros(parameter)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(handgrad.arange(ids.shape[1]))
        x = self.blocks(self.dropout(x))
        return self.head(self.norm(x))


@no_grad()
def sample(model: GPT2, ids: list[int], num_tokens: int, temperature: float, never: list[int]) -> list[int]:
    """num_tokens ids that continue ``ids``; each drawn from softmax(logits / temperature), none of ``never``."""
    model.eval()
    rng = np.random.default_rng(0)
    ids = list(ids)
    for _ in range(num_tokens):
        logits = model(handgrad.tensor([ids[-model.config.context_size :]]))[0, -1]
        logits[never] = float("-inf")
        if temperature == 0:
            ids.append(logits.argmax().item())
        else:
            probabilities = handgrad.softmax(logits.astype("float64") / temperature)
            ids.append(int(rng.choice(len(probabilities), p=probabilities.numpy())))
    model.train()
    return ids


@no_grad()
def evaluate(model: GPT2, ids: np.ndarray) -> float:
    """The mean loss over all of a text, in windows that do not overlap."""
    model.eval()
    losses = [
        (handgrad.cross_entropy(model(handgrad.tensor(x)), y).item(), y.size)
        for x, y in sequential_batches(ids, 32, model.config.context_size)
    ]
    model.train()
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


@dataclass
class Arguments:
    """Train a GPT-2 written in tensors."""

    text: Path | None = None
    """A UTF-8 file to learn."""
    dataset: str = "pydoc"
    """A text by name, where no file is given: pydoc (in every Python) or shakespeare (downloaded once)."""
    tokenizer: Literal["char"] = "char"
    context_size: int = 64
    num_blocks: int = 6
    num_heads: int = 6
    embedding_dim: int = 288
    dropout: float = 0.0
    num_steps: int = 2048
    batch_size: int = 32
    lr: float = 1e-3
    temperature: float = 1.0
    """Of the samples: below 1 bolder choices become rarer, 0 always takes the likeliest."""
    sample_tokens: int = 300
    eval_interval: int = 256
    """Steps between looks at the validation text, and between checkpoints."""
    seed: int = 0
    out: Path | None = None
    """A directory to keep checkpoints in."""
    resume: Path | None = None
    """A directory with a checkpoint to go on from; what it was trained with stays, but --num-steps."""


def checked(arguments: Arguments) -> Arguments:
    """The arguments. Raises InputError for sizes that make no model."""
    for name in ("context_size", "num_blocks", "num_heads", "embedding_dim", "batch_size", "eval_interval"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(arguments, name)}")
    if arguments.embedding_dim % arguments.num_heads:
        raise InputError(
            f"--embedding-dim {arguments.embedding_dim} must be a multiple of --num-heads {arguments.num_heads}"
        )
    if not 0 <= arguments.dropout < 1:
        raise InputError(f"--dropout must lie in [0, 1), not {arguments.dropout}")
    if not (arguments.temperature >= 0 and arguments.lr >= 0):
        raise InputError("--temperature and --lr must be at least 0")
    return arguments


def resumed(arguments: Arguments) -> tuple[Arguments, dict]:
    """The arguments that a checkpoint was made with, and its state."""
    assert arguments.resume is not None
    state = handgrad.load(arguments.resume / "checkpoint.safetensors")
    kept = {name: Path(value) if name == "text" and value else value for name, value in state["arguments"].items()}
    return Arguments(**{**kept, "num_steps": arguments.num_steps, "out": arguments.resume}), state


def main() -> None:
    arguments = checked(tyro.cli(Arguments))
    state = None
    if arguments.resume:
        arguments, state = resumed(arguments)
    corpus = load_text(arguments.text) if arguments.text else load_dataset(arguments.dataset)
    train_text, val_text = corpus.split()
    if state:
        tokenizer = load_tokenizer(arguments.out / "tokenizer.json")
        if state["corpus"] != corpus.sha256:
            raise InputError(f"{corpus.source} is not the text that {arguments.out} was trained on")
    else:
        tokenizer = make_tokenizer(arguments.tokenizer).train(train_text)
    train_ids, val_ids = tokenizer.encode(train_text), tokenizer.encode(val_text)
    if min(len(train_ids), len(val_ids)) <= arguments.context_size:
        raise InputError(f"{corpus.source} is too short for a context of {arguments.context_size} tokens")

    handgrad.manual_seed(arguments.seed)
    model = GPT2(
        GPT2Config(
            tokenizer.vocab_size,
            arguments.context_size,
            arguments.num_blocks,
            arguments.num_heads,
            arguments.embedding_dim,
            arguments.dropout,
        )
    )
    optimizer = optim.AdamW(model.parameters(), lr=arguments.lr)
    first_step, seconds = 0, 0.0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first_step, seconds = state["step"], state["seconds"]
    count = sum(parameter.size for parameter in model.parameters())
    print(f"{count:,} parameters, {len(train_ids):,} tokens of {corpus.source}, {tokenizer.vocab_size} known")
    show_sample(model, tokenizer, arguments)
    train(model, optimizer, train_ids, val_ids, arguments, tokenizer, corpus, first_step, seconds)
    show_sample(model, tokenizer, arguments)


def train(
    model: GPT2,
    optimizer: optim.AdamW,
    train_ids: np.ndarray,
    val_ids: np.ndarray,
    arguments: Arguments,
    tokenizer: Tokenizer,
    corpus: Corpus,
    first_step: int,
    seconds: float,
) -> None:
    """Steps first_step … num_steps - 1; each draws its batch (and dropout) from the seed and its own number."""
    begun = time.monotonic() - seconds
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(arguments.out / "tokenizer.json")
    for step in range(first_step, arguments.num_steps):
        x, y = random_batch(
            train_ids, arguments.batch_size, arguments.context_size, np.random.default_rng([arguments.seed, step])
        )
        model.set_generator(np.random.default_rng([arguments.seed, step, 1]))
        loss = handgrad.cross_entropy(model(handgrad.tensor(x)), handgrad.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = step + 1
        if done % 64 == 0:
            print(f"step {done:,}/{arguments.num_steps:,}: loss {loss.item():.4f}, {time.monotonic() - begun:.0f} s")
        if done % arguments.eval_interval == 0 or done == arguments.num_steps:
            val_loss = evaluate(model, val_ids)
            bits = val_loss / math.log(2) * (len(val_ids) - 1) / len(corpus.split()[1])
            print(f"step {done:,}: validation loss {val_loss:.4f} nats per token, {bits:.4f} bits per character")
            if arguments.out:
                save_checkpoint(model, optimizer, arguments, corpus, done, time.monotonic() - begun)


def save_checkpoint(
    model: GPT2, optimizer: optim.AdamW, arguments: Arguments, corpus: Corpus, step: int, seconds: float
) -> None:
    """One file, replaced in one step."""
    kept = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(arguments).items()}
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "arguments": {**kept, "out": None, "resume": None},
        "corpus": corpus.sha256,
        "step": step,
        "seconds": seconds,
    }
    assert arguments.out is not None
    handgrad.save(state, arguments.out / "checkpoint.safetensors")


def show_sample(model: GPT2, tokenizer: Tokenizer, arguments: Arguments) -> None:
    start = tokenizer.encode("\n").tolist()
    never = list(tokenizer.special_ids)
    ids = sample(model, start, arguments.sample_tokens, arguments.temperature, never)
    print("\n--- sample\n" + tokenizer.decode(ids[len(start) :]) + "\n---\n")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"gpt2: {error}")
