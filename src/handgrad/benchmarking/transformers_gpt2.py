"""GPT-2 of Hugging Face's transformers with our weights: it keeps keys and values, as most people generate text."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from handgrad.models import GPTConfig, LanguageModel

_ACTIVATIONS = {"gelu": "gelu_new", "gelu_exact": "gelu", "relu": "relu", "silu": "silu"}
"""Their names of our nonlinearities."""


def why_not_gpt2(config: GPTConfig) -> str | None:
    """What a model of this shape has that their GPT-2 has not; None if it has nothing.

    Missing biases are no difference: there they are zeros.
    """
    differences = {
        f"norm {config.norm}": config.norm != "layer",
        f"positions {config.positions}": config.positions != "learned",
        "qk_norm": config.qk_norm,
        f"n_kv_head {config.n_kv_head}": config.kv_heads != config.n_head,
        f"head_dim {config.head_dim}": config.head_size * config.n_head != config.n_embd,
        f"window {config.window}": config.window > 0,
        f"attention_scale {config.attention_scale}": config.attention_scale is not None,
        f"activation {config.activation}": config.activation not in _ACTIVATIONS,
        f"embedding_scale {config.embedding_scale:g}": config.embedding_scale != 1,
        "embedding_norm": config.embedding_norm,
        "token_shift": config.token_shift,
        f"logit_cap {config.logit_cap:g}": config.logit_cap > 0,
        "a bias in its output head": config.bias and not config.tie_weights,
    }
    return next((name for name, differs in differences.items() if differs), None)


def gpt2_twin(ours: LanguageModel) -> GPT2LMHeadModel:
    """The same model there, with a copy of the weights, ready to generate. Its shape must be one of GPT-2's."""
    config = ours.config
    assert why_not_gpt2(config) is None
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.block_size,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_inner=config.hidden,
            activation_function=_ACTIVATIONS[config.activation],
            layer_norm_epsilon=config.norm_eps,
            tie_word_embeddings=config.tie_weights,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    state = {
        name if name.startswith("lm_head") else f"transformer.{name}": torch.from_numpy(array)
        for name, array in ours.stored_state().items()
    }
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            value = state.pop(name, None)
            if value is not None:
                parameter.copy_(value)
            else:
                assert name.endswith(".bias")
                assert not config.bias
                parameter.zero_()
    assert not state
    return theirs


def write_greedily(model: GPT2LMHeadModel, prompt: Tensor, new_tokens: int) -> list[int]:
    """The likeliest tokens after the prompt (1, T), one by one, each from its predecessor and the keys and values."""
    cache, latest, written = DynamicCache(config=model.config), prompt, []
    call: Callable[..., tuple[Tensor, ...]] = model
    with torch.no_grad():
        for _ in range(new_tokens):
            # By position, because versions name the cache differently. It takes in the new keys and values.
            logits = call(latest, cache, use_cache=True, logits_to_keep=1, return_dict=False)[0]
            latest = logits[:, -1].argmax(-1, keepdim=True)
            written.append(latest)
        return torch.cat(written, dim=1)[0].tolist()
