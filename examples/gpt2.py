"""A GPT-2 written only with tensors, to be read beside the paper (Radford et al. 2019), and trained on a text.

python examples/gpt2.py                                   trains on Python's own reference text
python examples/gpt2.py --text FILE --out runs/gpt2       trains on a file and keeps checkpoints
python examples/gpt2.py --resume runs/gpt2                continues that run
"""

import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import handgrad
from handgrad import Tensor, nn, no_grad, optim
from handgrad.data import Corpus, load_dataset, load_text, random_batch, sequential_batches
from handgrad.system.errors import InputError
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
    """Each position looks at itself and at those before it, in num_heads subspaces."""

    def __init__(self, config: GPT2Config) -> None:
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embedding_dim, 3 * config.embedding_dim)
        self.project = nn.Linear(config.embedding_dim, config.embedding_dim)
        self.attention_dropout = nn.Dropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        # True above the diagonal, in the future.
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
    """Each position by itself: to four times the width, a GELU, and back."""

    def __init__(self, config: GPT2Config) -> None:
        self.expand = nn.Linear(config.embedding_dim, 4 * config.embedding_dim)
        self.contract = nn.Linear(4 * config.embedding_dim, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(handgrad.gelu(self.expand(x))))


class Block(nn.Module):
    """Attention, then the MLP; each gets a normalised input, and its output is added to the input."""

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
    """``ids``, continued by num_tokens ids, each drawn from softmax(logits / temperature); none of ``never``."""
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
    """The mean loss in nats over all of a text, in windows that do not overlap."""
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
    """A UTF-8 file to train on."""
    dataset: Literal["pydoc", "shakespeare"] = "pydoc"
    """A text by name, if no file is given: pydoc (in every Python) or shakespeare (downloaded once)."""
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
    """Of the samples: below 1 unlikely tokens become rarer; 0 always takes the likeliest."""
    sample_tokens: int = 300
    eval_interval: int = 256
    """Steps between evaluations, and between checkpoints."""
    seed: int = 0
    out: Path | None = None
    """A directory for a checkpoint."""
    resume: Path | None = None
    """A directory with a checkpoint to continue from, with its own settings; --num-steps may change."""

    def check(self) -> None:
        """Raises InputError for settings that make no model or no training."""
        for name in ("context_size", "num_blocks", "num_heads", "embedding_dim", "batch_size", "eval_interval"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        for name in ("lr", "temperature", "num_steps", "sample_tokens", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be at least 0, not {getattr(self, name)}")
        if self.embedding_dim % self.num_heads:
            raise InputError(f"--embedding-dim {self.embedding_dim} must be a multiple of --num-heads {self.num_heads}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"--dropout must lie in [0, 1), not {self.dropout}")
        if self.out and not self.resume and (self.out / CHECKPOINT).exists():
            raise InputError(
                f"{self.out} contains a checkpoint; continue it with --resume {self.out}, or choose another --out"
            )


CHECKPOINT, TOKENIZER = "checkpoint.safetensors", "tokenizer.json"
MAY_CHANGE = ("num_steps", "temperature", "sample_tokens", "eval_interval")


@dataclass
class Run:
    """A training run: its text, its model, and its progress."""

    arguments: Arguments
    corpus: Corpus
    tokenizer: Tokenizer
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        a = self.arguments
        train_text, val_text = self.corpus.split()
        self.train_ids, self.val_ids = self.tokenizer.encode(train_text), self.tokenizer.encode(val_text)
        self.val_characters = len(val_text)
        if min(len(self.train_ids), len(self.val_ids)) <= a.context_size:
            raise InputError(f"{self.corpus.source} is too short for a context of {a.context_size} tokens")
        handgrad.manual_seed(a.seed)
        shape = (a.context_size, a.num_blocks, a.num_heads, a.embedding_dim, a.dropout)
        self.model = GPT2(GPT2Config(self.tokenizer.vocab_size, *shape))
        self.optimizer = optim.AdamW(self.model.parameters(), lr=a.lr)

    def train(self) -> None:
        """Trains up to --num-steps; each step draws its batch, and dropout, from the seed and its own number."""
        a, begun = self.arguments, time.monotonic() - self.seconds
        while self.step < a.num_steps:
            rng = np.random.default_rng([a.seed, self.step])
            x, y = map(handgrad.tensor, random_batch(self.train_ids, a.batch_size, a.context_size, rng))
            self.model.set_generator(rng)
            loss = handgrad.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.step, self.seconds = self.step + 1, time.monotonic() - begun
            if self.step % 64 == 0:
                print(f"step {self.step:,}/{a.num_steps:,}: loss {loss.item():.4f}, {self.seconds:.0f} s", flush=True)
            if self.step % a.eval_interval == 0 or self.step == a.num_steps:
                val_loss = evaluate(self.model, self.val_ids)
                bits = val_loss / math.log(2) * (len(self.val_ids) - 1) / self.val_characters
                print(
                    f"step {self.step:,}: validation loss {val_loss:.4f} nats per token, {bits:.4f} bits per character"
                )
                self.save()

    def show_sample(self) -> None:
        start, never = self.tokenizer.encode("\n").tolist(), list(self.tokenizer.special_ids)
        ids = sample(self.model, start, self.arguments.sample_tokens, self.arguments.temperature, never)
        print("\n--- sample\n" + self.tokenizer.decode(ids[len(start) :]) + "\n---\n")

    def save(self) -> None:
        """All that a resume needs, in one file that is replaced in one step."""
        if not self.arguments.out:
            return
        self.tokenizer.save(self.arguments.out / TOKENIZER)
        kept = {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.arguments).items()
        }
        state = {
            "arguments": {**kept, "out": None, "resume": None},
            "corpus": self.corpus.sha256,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        handgrad.save(state, self.arguments.out / CHECKPOINT)


def new_run(arguments: Arguments) -> Run:
    corpus = load_text(arguments.text) if arguments.text else load_dataset(arguments.dataset)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)  # an unwritable directory shows before hours have passed
    return Run(arguments, corpus, make_tokenizer(arguments.tokenizer).train(corpus.split()[0]))


def saved_state(directory: Path) -> tuple[dict[str, Any], Arguments]:
    """A checkpoint, and the arguments of its run."""
    state = handgrad.load(directory / CHECKPOINT)
    try:
        kept = state["arguments"]
        text = Path(kept["text"]) if kept["text"] else None
        return state, Arguments(**{**kept, "text": text, "out": directory, "resume": directory})
    except (KeyError, TypeError) as error:
        raise InputError(f"{directory / CHECKPOINT} is no checkpoint of this example: {error!r}") from None


def resumed_run(state: dict[str, Any], kept: Arguments, arguments: Arguments) -> Run:
    for name, value in asdict(arguments).items():
        if name not in MAY_CHANGE and value != getattr(kept, name):
            raise InputError(f"--{name.replace('_', '-')} cannot change on resume: it was {getattr(kept, name)}")
    corpus = load_text(kept.text) if kept.text else load_dataset(kept.dataset)
    try:
        if corpus.sha256 != state["corpus"]:
            raise InputError(f"{corpus.source} is no longer the text on which {kept.resume} was trained")
        assert kept.resume is not None
        run = Run(arguments, corpus, load_tokenizer(kept.resume / TOKENIZER), state["step"], state["seconds"])
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{kept.resume} does not hold a whole checkpoint: {error}") from None
    return run


def main() -> None:
    arguments = tyro.cli(Arguments)
    if arguments.resume:
        # Parsed again with the run's own settings as defaults: only flags that are given change them.
        state, kept = saved_state(arguments.resume)
        arguments = tyro.cli(Arguments, default=kept)
        arguments.check()
        run = resumed_run(state, kept, arguments)
    else:
        arguments.check()
        run = new_run(arguments)
    count = sum(parameter.size for parameter in run.model.parameters())
    print(
        f"{count:,} parameters, {len(run.train_ids):,} tokens of {run.corpus.source}, "
        f"vocabulary of {run.tokenizer.vocab_size}"
    )
    run.show_sample()
    run.train()
    run.show_sample()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"gpt2: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"gpt2: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("gpt2: interrupted; with --out, --resume continues from the last checkpoint", file=sys.stderr)
        sys.exit(130)
