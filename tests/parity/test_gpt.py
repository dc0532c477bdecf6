"""A GPT of each kind against the same GPT in PyTorch: one pass with all its gradients."""

from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.benchmarking.torch_gpt import paired, torch_twin
from handgrad.checking import relative_error
from handgrad.models import GPT, GPTConfig
from handgrad.models.config import Architecture
from handgrad.nn.transformer import FeedForwardActivation

# Every setting of the architecture by itself, then models that were published, then mixtures.
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "layer norm, another eps": {"norm_eps": 0.1},
    "rms norm": {"norm": "rms"},
    "rms norm, another eps": {"norm": "rms", "norm_eps": 0.1},
    "rotary": {"positions": "rotary"},
    "rotary, another base": {"positions": "rotary", "rope_base": 7.0},
    "no positions": {"positions": "none"},
    "query and key norm": {"qk_norm": True},
    "query and key norm, another eps": {"qk_norm": True, "norm_eps": 0.1},
    "query and key norm before rotary": {"qk_norm": True, "positions": "rotary"},
    **{f"{activation}": {"activation": activation} for activation in get_args(FeedForwardActivation)},
    "narrow": {"n_hidden": 7},
    "narrow swiglu": {"activation": "swiglu", "n_hidden": 7},
    "two key heads": {"n_kv_head": 2},
    "one key head": {"n_kv_head": 1},
    "two key heads that turn": {"n_kv_head": 2, "positions": "rotary", "qk_norm": True},
    "wide heads": {"head_dim": 6},
    "wide heads, one key head": {"head_dim": 10, "n_kv_head": 1, "positions": "rotary"},
    "heads of one number": {"head_dim": 1},
    "window": {"window": 3},
    "window of one": {"window": 1},
    "window wider than the text": {"window": 50},
    "window over two key heads": {"window": 2, "n_kv_head": 2},
    "attention scale": {"attention_scale": 0.11},
    "logit cap": {"logit_cap": 3.0},
    "embedding scale": {"embedding_scale": 2.5},
    "embedding norm": {"embedding_norm": True},
    "embedding norm, another eps": {"embedding_norm": True, "norm_eps": 0.1, "embedding_scale": 0.5},
    "token shift": {"token_shift": True},
    "token shift after scale and norm": {"token_shift": True, "embedding_scale": 0.5, "embedding_norm": True},
    "no biases": {"bias": False},
    "untied": {"tie_weights": False},
    "untied, no biases": {"tie_weights": False, "bias": False},
}
MIXTURES: dict[str, dict[str, Any]] = {
    "as Llama": {
        "norm": "rms", "positions": "rotary", "activation": "swiglu", "n_kv_head": 2, "bias": False,
        "tie_weights": False,
    },
    "as Gemma 2": {
        "norm": "rms", "positions": "rotary", "activation": "gelu", "n_kv_head": 2, "head_dim": 6, "bias": False,
        "window": 4, "attention_scale": 0.3, "logit_cap": 5.0, "embedding_scale": 3.5,
    },
    "as Qwen 3": {
        "norm": "rms", "positions": "rotary", "rope_base": 1e6, "activation": "swiglu", "n_kv_head": 1, "qk_norm": True,
        "norm_eps": 1e-6, "bias": False,
    },
    "as the speedrun": {
        "norm": "rms", "positions": "rotary", "activation": "relu_squared", "qk_norm": True, "embedding_norm": True,
        "logit_cap": 15.0, "bias": False, "tie_weights": False, "window": 5, "token_shift": True,
    },
    "layer norm with all the rest": {
        "positions": "rotary", "activation": "silu", "n_kv_head": 2, "head_dim": 4, "qk_norm": True, "window": 6,
        "attention_scale": 0.7, "logit_cap": 8.0, "embedding_scale": 1.5, "embedding_norm": True, "n_hidden": 30,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, *MIXTURES])
def test_one_pass(kind: str) -> None:
    one_pass_agrees((KINDS | MIXTURES)[kind])


def test_every_setting_of_the_architecture_is_compared() -> None:
    compared = {name for options in KINDS.values() for name in options}
    of_the_start = {"embedding_std", "matrix_std", "zero_init"}  # the twin copies the weights
    settings = {field.name for field in fields(Architecture)}
    # Dropout's random numbers cannot be compared; test_benchmark compares losses in bfloat16.
    assert settings - of_the_start - compared == {"dropout", "precision"}


def some(draw: st.DrawFn, name: str, *values: Any) -> dict[str, Any]:
    """A setting with one of these values, or, half of the time, its default."""
    return {name: draw(st.sampled_from(values))} if draw(st.booleans()) else {}


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, Any]:
    return {
        **some(draw, "norm", "rms"),
        **some(draw, "norm_eps", 1e-6, 0.01, 0.5),
        **some(draw, "positions", "rotary", "none"),
        **some(draw, "rope_base", 2.0, 500000.0),
        **some(draw, "qk_norm", True),
        **some(draw, "activation", *get_args(FeedForwardActivation)),
        **some(draw, "n_hidden", 1, 5, 31),
        **some(draw, "n_kv_head", 1, 2, 4),
        **some(draw, "head_dim", 2, 6, 8),
        **some(draw, "window", 1, 2, 5, 8),
        **some(draw, "attention_scale", 0.05, 1.0),
        **some(draw, "logit_cap", 0.5, 20.0),
        **some(draw, "embedding_scale", 0.1, 4.0),
        **some(draw, "embedding_norm", True),
        **some(draw, "token_shift", True),
        **some(draw, "bias", False),
        **some(draw, "tie_weights", False),
    }


@settings(max_examples=30, deadline=None, derandomize=True)
@given(mixtures(), st.integers(1, 8), st.integers(0, 2**16))
def test_one_pass_of_any_mixture(options: dict[str, Any], length: int, seed: int) -> None:
    one_pass_agrees(options, length, seed)


def one_pass_agrees(options: dict[str, Any], T: int = 7, seed: int = 12) -> None:
    """Logits, loss and every gradient to 1e-10 in float64; B 3, block 8, V 11, 2 layers, 4 heads of 4.

    Weights are drawn with a standard deviation of 1/2: fresh models have biases of 0 and gains of 1.
    """
    config = GPTConfig(11, 8, 2, 4, 16, **options)
    ours = GPT(config, dtype=np.float64)
    rng = np.random.default_rng(seed)
    ours.arena.data[...] = rng.standard_normal(ours.n_parameters) / 2
    theirs = torch_twin(ours)
    ids, targets = rng.integers(0, 11, (2, 3, T))

    logits = ours(ids)
    ours.forget()
    assert relative_error(logits, theirs(torch.tensor(ids)).detach().numpy()) <= 1e-10
    loss, expected = ours.loss(ids, targets), theirs.loss(torch.tensor(ids), torch.tensor(targets))
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    ours.backward()
    expected.backward()
    for name, parameter, gradient in paired(ours, theirs, grad=True):
        assert parameter.grad is not None
        assert relative_error(parameter.grad, gradient.numpy()) <= 1e-10, name
