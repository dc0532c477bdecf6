"""Compiled generation, in float32: the logits that follow a cache, against a forward of the whole text in float64."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from handgrad.autograd import no_grad
from handgrad.checking.kernels import kernel_error
from handgrad.checking.results import Result
from handgrad.models import GPT, GPTConfig, KVCache
from handgrad.models.next_token import NextToken

_KINDS: dict[str, dict[str, Any]] = {
    "GPT-2": {},
    "a modern GPT": {
        "positions": "rotary", "norm": "rms", "qk_norm": True, "activation": "relu_squared", "n_kv_head": 2,
        "window": 7, "bias": False, "tie_weights": False, "logit_cap": 5.0, "token_shift": True,
    },
    "SwiGLU": {
        "activation": "swiglu", "positions": "none", "n_kv_head": 1, "embedding_norm": True, "token_shift": True,
    },
}  # fmt: skip
_TEXTS, _PROMPT, _TOKENS = 3, 11, 29


def check_generation() -> Iterator[Result]:
    """For GPTs of several kinds: the logits after a prompt that goes through in one pass, and those of each further
    token of three texts, by the kernel of a whole model.
    """
    for kind, options in _KINDS.items():
        model = GPT(GPTConfig(vocab_size=37, block_size=_TOKENS, n_layer=2, n_head=4, n_embd=40, **options)).eval()
        rng = np.random.default_rng(31)
        model.arena.data += (rng.standard_normal(model.n_parameters) / 5).astype(np.float32)
        exact = GPT(model.config, dtype=np.float64).eval()
        exact.load_state_dict(model.state_dict())
        ids = rng.integers(0, 37, (_TEXTS, _TOKENS))
        with no_grad():
            truth = exact(ids)
            cache, next_token = KVCache(model.config, _TEXTS), NextToken(model)
            after_prompt = model(ids[:, :_PROMPT], kv_cache=cache)
            further = np.stack([next_token(ids[:, t], cache) for t in range(_PROMPT, _TOKENS)], axis=1)
        prompt_error = kernel_error(after_prompt[:, 0], truth[:, _PROMPT - 1])
        yield Result(f"kernel cached_attention, float32, {kind}", "logits after a prompt", None, compiled=prompt_error)
        error = kernel_error(further, truth[:, _PROMPT:])
        yield Result(f"kernel next_token, float32, {kind}", "logits of further tokens", None, compiled=error)
