"""A GPT in plain JAX, whose gradients jax.grad finds: ours is timed beside it, and compared with it.

It is written from the definitions of its parts, in float32. The parameters have the names and the shapes of ours.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad.models import GPTConfig, LanguageModel

Parameters = dict[str, Any]
"""Arrays by the names that they have in our model. A linear layer's weight is (in, out), the head's (V, C)."""


def jax_twin(ours: LanguageModel) -> Parameters:
    """A copy of the weights, float32; a weight that the head shares with the token embedding is there once."""
    return {name: jnp.asarray(np.array(parameter.data)) for name, parameter in ours.named_parameters()}


def loss_of(parameters: Parameters, config: GPTConfig, ids: Any, targets: Any) -> Any:
    """The mean cross entropy of the targets (B, T)."""
    log_probabilities = jax.nn.log_softmax(logits_of(parameters, config, ids))
    return -jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1).mean()


def logits_of(parameters: Parameters, config: GPTConfig, ids: Any) -> Any:
    """Logits (B, T, V) of ids (B, T). The model has every setting of ours but dropout."""
    assert config.dropout == 0
    T = ids.shape[1]
    x = parameters["token_embedding.weight"][ids] * config.embedding_scale
    if config.positions == "learned":
        x = x + parameters["position_embedding.weight"][:T]
    if config.embedding_norm:
        x = _root_mean_square_norm(x, config.norm_eps)
    if config.token_shift:
        x = x.at[:, 1:].add(parameters["token_shift.weight"] * x[:, :-1])
    rotate = _rotation(config, T)
    for block in range(config.n_layer):
        part = _Part(parameters, config, f"blocks.{block}.")
        x = x + _attend(part, part.norm("norm_1", x), rotate)
        hidden = _activate(config, part.linear("feed_forward.expand", part.norm("norm_2", x)))
        x = x + part.linear("feed_forward.contract", hidden)
    whole = _Part(parameters, config, "")
    table = parameters["token_embedding.weight" if config.tie_weights else "head.weight"]
    logits = whole.norm("norm", x) @ table.T
    if "head.bias" in parameters:
        logits = logits + parameters["head.bias"]
    return config.logit_cap * jnp.tanh(logits / config.logit_cap) if config.logit_cap else logits


class _Part:
    """The parameters whose names begin with ``prefix``."""

    def __init__(self, parameters: Parameters, config: GPTConfig, prefix: str) -> None:
        self.parameters, self.config, self.prefix = parameters, config, prefix

    def linear(self, name: str, x: Any) -> Any:
        y = x @ self.parameters[f"{self.prefix}{name}.weight"]
        bias = self.parameters.get(f"{self.prefix}{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name: str, x: Any) -> Any:
        weight, eps = self.parameters[f"{self.prefix}{name}.weight"], self.config.norm_eps
        if self.config.norm == "rms":
            return _root_mean_square_norm(x, eps) * weight
        x = x - x.mean(-1, keepdims=True)
        return (
            x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + eps) * weight
            + self.parameters[f"{self.prefix}{name}.bias"]
        )


def _root_mean_square_norm(x: Any, eps: float) -> Any:
    return x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + eps)


def _attend(part: _Part, x: Any, rotate: Callable[[Any], Any]) -> Any:
    config = part.config
    B, T, _ = x.shape
    H, K, D = config.n_head, config.kv_heads, config.head_size
    heads = part.linear("attention.project_in", x).reshape(B, T, H + 2 * K, D).transpose(0, 2, 1, 3)
    q, k, v = heads[:, :H], heads[:, H : H + K], heads[:, H + K :]
    if config.qk_norm:
        q, k = _root_mean_square_norm(q, config.norm_eps), _root_mean_square_norm(k, config.norm_eps)
    # Query head h uses key head h // (H / K).
    q, k = rotate(q).reshape(B, K, H // K, T, D), rotate(k)
    scale = D**-0.5 if config.attention_scale is None else config.attention_scale
    scores = jnp.einsum("bkgtd,bksd->bkgts", q, k) * scale
    distance = np.arange(T)[:, None] - np.arange(T)
    seen = (distance >= 0) & (distance < (config.window or T))
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
    y = jnp.einsum("bkgts,bksd->bkgtd", weights, v).reshape(B, H, T, D)
    return part.linear("attention.project_out", y.transpose(0, 2, 1, 3).reshape(B, T, H * D))


def _rotation(config: GPTConfig, T: int) -> Callable[[Any], Any]:
    """What turns queries or keys (…, T, D) by their positions; component i is paired with i + D/2."""
    if config.positions != "rotary":
        return lambda x: x
    D = config.head_size
    angles = np.outer(np.arange(T), config.rope_base ** (-np.arange(0, D, 2) / D))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def rotate(x: Any) -> Any:
        first, second = x[..., : D // 2], x[..., D // 2 :]
        return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)

    return rotate


def _activate(config: GPTConfig, x: Any) -> Any:
    if config.activation == "swiglu":
        gate, up = jnp.split(x, 2, axis=-1)
        return jax.nn.silu(gate) * up
    functions: dict[str, Callable[[Any], Any]] = {
        "gelu": lambda x: jax.nn.gelu(x, approximate=True),
        "gelu_exact": lambda x: jax.nn.gelu(x, approximate=False),
        "relu": jax.nn.relu,
        "relu_squared": lambda x: jnp.square(jax.nn.relu(x)),
        "silu": jax.nn.silu,
    }
    return functions[config.activation](x)
