"""A training step in JAX as one compiled function: loss, gradients, clipping, and Adam, AdamW or Muon."""

from typing import Any

import jax
import jax.numpy as jnp

from handgrad.benchmarking.jax_gpt import Parameters, loss_of
from handgrad.models import GPTConfig, LanguageModel
from handgrad.ops.newton_schulz import COEFFICIENTS
from handgrad.runs import TrainConfig

State = tuple[Parameters, Parameters]
"""The running means of the gradients, and of their squares; Muon leaves the second at 0."""

_ADAMS_EPS, _MUONS_EPS = 1e-8, 1e-7
_NEWTON_SCHULZ_STEPS = 5


def why_not_jax(train: TrainConfig) -> str | None:
    """What a run has that the step in JAX has not; None if it has nothing."""
    if train.dropout:
        return f"dropout {train.dropout:g}"
    if train.optimizer == "sgd":
        return "the optimizer sgd"
    return "cautious weight decay" if train.cautious else None


def new_state(parameters: Parameters) -> State:
    """All zeros."""
    zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    return zeros, {name: jnp.zeros_like(value) for name, value in parameters.items()}


def corrections_of(train: TrainConfig, number: int) -> tuple[float, float]:
    """What Adam divides its two means by in a step, which is counted from 1: float32 would be too coarse for them."""
    return 1 - train.beta1**number, 1 - train.beta2**number


def step_of(train: TrainConfig, config: GPTConfig, ours: LanguageModel) -> Any:
    """A function of the parameters, the state, ids and targets (B, T), the schedule's learning rate, and the step's
    ``corrections_of``. It returns the new parameters, the new state and the loss, and takes the memory of the old ones.
    JAX compiles it at the first call.
    """
    assert why_not_jax(train) is None
    roles = {name: parameter.role for name, parameter in ours.named_parameters()}
    widths = {name: parameter.widths or (parameter.shape[-1],) for name, parameter in ours.named_parameters()}

    def step(
        parameters: Parameters, state: State, ids: Any, targets: Any, rate: Any, corrections: Any
    ) -> tuple[Parameters, State, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, config, ids, targets)
        if train.grad_clip:
            norm = jnp.sqrt(sum(jnp.square(gradient).sum() for gradient in gradients.values()))
            factor = jnp.where(norm > train.grad_clip, train.grad_clip / (norm + 1e-6), 1.0)
            gradients = {name: gradient * factor for name, gradient in gradients.items()}
        means, squares = dict(state[0]), dict(state[1])
        moved = {}
        for name, x in parameters.items():
            decay = 0.0 if roles[name] == "vector" else train.weight_decay
            if train.optimizer == "muon" and roles[name] == "matrix":
                moved[name], means[name] = _muon(
                    x, gradients[name], means[name], rate * (train.muon_lr / train.lr), decay, train, widths[name]
                )
            else:
                moved[name], means[name], squares[name] = _adam(
                    x, gradients[name], means[name], squares[name], rate, corrections, decay, train
                )
        return moved, (means, squares), loss

    return jax.jit(step, donate_argnums=(0, 1))


def _adam(
    x: Any, gradient: Any, mean: Any, square: Any, rate: Any, corrections: Any, decay: float, train: TrainConfig
) -> tuple[Any, Any, Any]:
    """Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019), which is Muon's companion too."""
    if train.optimizer == "adam":
        gradient = gradient + decay * x
    else:
        x = x * (1 - rate * decay)
    mean = train.beta1 * mean + (1 - train.beta1) * gradient
    square = train.beta2 * square + (1 - train.beta2) * jnp.square(gradient)
    root = jnp.sqrt(square / corrections[1])
    return x - rate * (mean / corrections[0]) / (root + _ADAMS_EPS), mean, square


def _muon(
    x: Any, gradient: Any, mean: Any, rate: Any, decay: float, train: TrainConfig, widths: tuple[int, ...]
) -> tuple[Any, Any]:
    """Muon (Keller Jordan 2024) with Nesterov's momentum, on each of the matrices that lie side by side in x."""
    momentum = train.muon_momentum
    mean = momentum * mean + (1 - momentum) * gradient
    direction = (1 - momentum) * gradient + momentum * mean
    places = [sum(widths[:i]) for i in range(1, len(widths))]
    steps = [
        _orthogonalised(part) * max(1.0, part.shape[1] / part.shape[0]) ** 0.5
        for part in jnp.split(direction, places, axis=1)
    ]
    return x * (1 - rate * decay) - rate * jnp.concatenate(steps, axis=1), mean


def _orthogonalised(matrix: Any) -> Any:
    """The matrix with all singular values near 1, by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / jnp.maximum(jnp.sqrt(jnp.square(x).sum()), _MUONS_EPS)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if is_tall else x
