"""Named configurations."""

from typing import Any

from handgrad.runs.config import TrainConfig
from handgrad.system.errors import InputError

_MODERN: dict[str, Any] = {
    "bias": False, "norm": "rms", "positions": "rotary", "qk_norm": True, "activation": "relu_squared",
    "tie_weights": False, "embedding_std": 0.2, "token_shift": True, "sampling": "epochs", "optimizer": "muon",
    "lr": 1e-2, "min_lr": 0.0, "muon_lr": 0.02, "muon_momentum": 0.9, "beta2": 0.95, "weight_decay": 0.0,
    "grad_clip": 0.0, "schedule": "trapezoid", "decay_fraction": 0.9, "warmup_steps": 20,
}  # fmt: skip
"""What was found since GPT-2 (docs/modern.md), and what the speedrun found (docs/experiments/speedrun.md)."""

PRESETS: dict[str, TrainConfig] = {
    # Trains in a minute on two cores. Byte pairs, because spelled words are what makes a short run readable.
    "quick": TrainConfig(
        **(_MODERN | {"lr": 2e-2}), n_layer=3, n_head=4, n_embd=128, block_size=128, tokenizer="bpe", vocab_size=2048,
        batch_size=16, max_steps=600, eval_interval=150, checkpoint_interval=150,
    ),
    # nanoGPT's small Shakespeare model for a CPU.
    "shakespeare-cpu": TrainConfig(
        n_layer=4, n_head=4, n_embd=128, block_size=64, bias=False, batch_size=12, max_steps=2000,
        lr=1e-3, min_lr=1e-4, warmup_steps=100, beta2=0.99, weight_decay=0.1, grad_clip=1.0,
    ),
    # The same sizes and text with what was found since GPT-2.
    "modern-cpu": TrainConfig(
        **_MODERN, n_layer=4, n_head=4, n_embd=128, block_size=64, attention_scale=0.23, batch_size=16, max_steps=500,
        eval_interval=100, checkpoint_interval=100,
    ),
    # The record of the speedrun to 1.4697 on tiny Shakespeare.
    "modern": TrainConfig(
        **(_MODERN | {"muon_lr": 0.03}), n_layer=3, n_head=4, n_embd=192, block_size=256, attention_scale=0.19,
        batch_size=16, max_steps=720, eval_interval=72, checkpoint_interval=72,
    ),
    # The sizes of a published NumPy GPT with explicit gradients.
    "explicit-char": TrainConfig(
        n_layer=4, n_head=4, n_embd=256, block_size=128, activation="relu", tie_weights=False, batch_size=16,
        max_steps=8000, optimizer="adam", lr=3e-4, min_lr=3e-5, warmup_steps=800, beta2=0.999, weight_decay=0.0,
        grad_clip=1.0, eval_interval=500, checkpoint_interval=500,
    ),
    # The sizes of a published NumPy GPT-2 on autograd.
    "autograd-char": TrainConfig(
        n_layer=6, n_head=6, n_embd=288, block_size=64, bias=False, tie_weights=False, batch_size=32,
        max_steps=2048, lr=1e-3, schedule="constant", warmup_steps=0, beta2=0.999, weight_decay=0.01, grad_clip=0.0,
    ),
    # The sizes of GPT-2 small: 124M parameters with --tokenizer vocab.json of GPT-2. Trains for days on a CPU.
    "gpt2": TrainConfig(
        n_layer=12, n_head=12, n_embd=768, block_size=1024, batch_size=1, grad_accum_steps=8, max_steps=10000,
        lr=6e-4, min_lr=6e-5, warmup_steps=500, beta2=0.95, weight_decay=0.1, grad_clip=1.0, log_interval=1,
    ),
}  # fmt: skip


def preset(name: str) -> TrainConfig:
    """The configuration of that name. Raises InputError for an unknown name."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
