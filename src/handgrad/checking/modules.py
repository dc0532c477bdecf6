"""Every layer, and a whole GPT, against central differences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad import nn
from handgrad.autograd import Tensor, no_grad
from handgrad.checking.numerical import STEP, central_differences, relative_error
from handgrad.checking.operations import away_from_the_kink, split_heads_of
from handgrad.checking.results import Result
from handgrad.models import GPTConfig, LanguageModel, new_model
from handgrad.system.arrays import Array


@dataclass(frozen=True)
class ModuleCase:
    """A module and an input for it; the input is differentiable if its dtype is floating."""

    name: str
    module: nn.Module
    x: Array
    options: dict[str, Any]
    step: float = STEP
    """How far central differences move a parameter. A small step crosses fewer kinks of a nonlinearity."""


def layer_cases() -> list[ModuleCase]:
    """Every layer of ``nn``, on shapes whose sizes all differ: B 2, T 5, H 3, D 4, hidden 7; C 12 for attention."""
    rng = np.random.default_rng(2027)
    made: dict[str, Any] = {"rng": rng, "dtype": np.float64}
    x, wide = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 12))
    away_from_kink = np.where(np.abs(x) < 0.05, 0.5, x)
    table = nn.Parameter(rng.standard_normal((7, 3)))
    logits, targets = rng.standard_normal((2, 5, 7)), rng.integers(0, 7, (2, 5))
    mask = rng.random((2, 1, 5, 5)) < 0.7
    apart = 0.13 * (rng.permutation(252).reshape(2, 3, 6, 7) - 113.7)
    weighted = nn.CrossEntropyLoss(weight=rng.random(7), label_smoothing=0.2)
    cases: list[tuple[str, nn.Module, Array, dict[str, Any]]] = [
        ("Linear", nn.Linear(3, 4, **made), x, {}),
        ("Embedding", nn.Embedding(7, 3, **made), rng.integers(0, 7, (2, 5)), {}),
        ("Unembedding", nn.Unembedding(table, bias=True), x, {}),
        ("LayerNorm", nn.LayerNorm(3, dtype=np.float64), x, {}),
        ("GELU", nn.GELU(), x, {}),
        ("GELU, exact", nn.GELU(approximate="none"), x, {}),
        ("ReLU", nn.ReLU(), away_from_kink, {}),
        ("Softmax", nn.Softmax(), x, {}),
        ("Tanh", nn.Tanh(), x, {}),
        ("Sigmoid", nn.Sigmoid(), x, {}),
        ("Softplus", nn.Softplus(), x, {}),
        ("LeakyReLU", nn.LeakyReLU(0.2), away_from_kink, {}),
        ("RMSNorm", nn.RMSNorm(3, dtype=np.float64), x, {}),
        ("RMSNorm, two axes", nn.RMSNorm((5, 3), dtype=np.float64), x, {}),
        ("RMSNorm, no gain", nn.RMSNorm(3, eps=0.1, elementwise_affine=False), x, {}),
        ("TokenShift", nn.TokenShift(3, dtype=np.float64), x, {}),
        ("ReLUSquared", nn.ReLUSquared(), away_from_kink, {}),
        ("SiLU", nn.SiLU(), x, {}),
        ("SwiGLU", nn.SwiGLU(), wide, {}),
        ("TanhCap", nn.TanhCap(1.7), x, {}),
        ("LayerNorm, two axes", nn.LayerNorm((5, 3), dtype=np.float64), x, {}),
        ("LayerNorm, no gain", nn.LayerNorm(3, elementwise_affine=False), x, {}),
        ("LayerNorm, no bias", nn.LayerNorm(3, bias=False, dtype=np.float64), x, {}),
        ("Identity", nn.Identity(), x, {}),
        ("Flatten", nn.Flatten(), rng.standard_normal((2, 3, 6, 7)), {}),
        ("MaxPool2d", nn.MaxPool2d((2, 3), stride=1), apart, {}),
        ("Conv2d", nn.Conv2d(3, 5, (2, 4), padding=(0, 1), **made), rng.standard_normal((2, 3, 6, 7)), {}),
        ("Dropout", nn.Dropout(0.4), x, {}),
        ("CrossEntropyLoss", nn.CrossEntropyLoss(), logits, {"targets": targets}),
        ("CrossEntropyLoss, weighted", weighted, logits, {"targets": targets}),
        ("BCELoss", nn.BCELoss(), rng.uniform(0.3, 0.7, (2, 5, 3)), {"target": rng.random((2, 5, 3))}),
        ("BCEWithLogitsLoss", nn.BCEWithLogitsLoss("sum"), x, {"target": rng.random((2, 5, 3))}),
        ("MSELoss", nn.MSELoss(), x, {"target": rng.standard_normal((2, 5, 3))}),
        ("Attend", nn.Attend(3), rng.standard_normal((2, 5, 36)), {}),
        ("AttendBetween", _normalising_attention(), rng.standard_normal((2, 5, 36)), {"mask": mask}),
        ("MultiHeadAttention", nn.MultiHeadAttention(12, 3, **made), wide, {}),
        ("MultiHeadAttention, masked", nn.MultiHeadAttention(12, 3, dropout=0.2, **made), wide, {"mask": mask}),
        ("CrossAttention, itself", nn.CrossAttention(12, 3, dropout=0.2, **made), wide, {}),
        ("CrossAttention, masked", nn.CrossAttention(12, 3, **made), wide, {"mask": mask}),
        ("FeedForward", nn.FeedForward(3, 7, dropout=0.2, **made), x, {}),
        ("FeedForward, relu", *_relu_case(made), {}),
        ("Sequential", nn.Sequential(nn.Linear(3, 4, **made), nn.GELU(), nn.Linear(4, 7, **made)), x, {}),
        ("MLP", nn.MLP([3, 7, 4, 6], activation="tanh", **made), x, {}),
        ("TransformerBlock", nn.TransformerBlock(6, 3, **made), rng.standard_normal((4, 5, 6)), {}),
    ]
    return [ModuleCase(*case) for case in cases]


def gpt_cases() -> list[ModuleCase]:
    """A whole GPT of each kind: with the settings of GPT-2, and smaller ones with others for every field.

    V 7, block 8, T 5, B 4, C 6; those of newer kinds have C 4 and hidden 9 and two sequences of three tokens.
    """
    rng = np.random.default_rng(2028)
    ids, targets = rng.integers(0, 7, (4, 5)), rng.integers(0, 7, (4, 5))
    shape: dict[str, Any] = {"vocab_size": 7, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 6}
    small: dict[str, Any] = {"vocab_size": 5, "n_embd": 4, "n_hidden": 9}
    kinds: dict[str, dict[str, Any]] = {
        "GPT, tied head": {},
        "GPT, own head, exact gelu, dropout": {"tie_weights": False, "activation": "gelu_exact", "dropout": 0.2},
        "GPT, no biases, relu": {"bias": False, "activation": "relu"},
        "GPT, rms norm": {**small, "norm": "rms", "norm_eps": 0.1},
        "GPT, rotary positions": {**small, "positions": "rotary", "rope_base": 50.0, "head_dim": 6},
        "GPT, no positions, normalised queries and keys": {**small, "positions": "none", "qk_norm": True},
        "GPT, shared keys, window": {**small, "n_head": 4, "n_kv_head": 2, "window": 2, "attention_scale": 0.4},
        "GPT, squared relu, scaled embeddings": {**small, "activation": "relu_squared", "embedding_scale": 3.0},
        "GPT, silu, capped logits": {**small, "activation": "silu", "logit_cap": 1.5},
        "GPT, swiglu, normalised embeddings": {**small, "activation": "swiglu", "embedding_norm": True},
        "GPT, token shift": {**small, "token_shift": True, "embedding_scale": 2.0},
        "GPT, modern": {**small, **MODERN},
    }
    cases = []
    for name, kind in kinds.items():
        config = GPTConfig(**{**shape, **kind})
        # Among the many hidden values of a model some are near the kink of relu, or of the slope of its square.
        step = STEP / 100 if config.activation in ("relu", "relu_squared") else STEP
        few = slice(None) if config.vocab_size == 7 else slice(2)
        x, y = (array[few, : 5 if config.vocab_size == 7 else 3] % config.vocab_size for array in (ids, targets))
        cases.append(ModuleCase(name, new_model(config, dtype=np.float64), x, {"targets": y}, step))
    return cases


MODERN: dict[str, Any] = {
    "n_layer": 2,
    "n_head": 4,
    "n_kv_head": 2,
    "head_dim": 2,
    "bias": False,
    "norm": "rms",
    "positions": "rotary",
    "qk_norm": True,
    "activation": "relu_squared",
    "window": 2,
    "logit_cap": 5.0,
    "tie_weights": False,
    "embedding_norm": True,
    "token_shift": True,
}
"""Nearly all that differs from GPT-2 in one small model."""


def check_module(case: ModuleCase) -> Iterator[Result]:
    """A result for the input and for each parameter.

    Parameters are drawn with a standard deviation of 1/2, far larger than a model starts with: gradients that are
    nearly zero would hide their errors in rounding.
    """
    module, x = case.module, case.x.copy()
    values = np.random.default_rng(5)
    for parameter in module.parameters():
        parameter.data = values.standard_normal(parameter.shape) / 2
    compute = module.loss if isinstance(module, LanguageModel) else module

    def forward() -> Array:
        module.set_generator(np.random.default_rng(3))
        return np.asarray(compute(x, **case.options))

    module.zero_grad()
    output = forward()
    r = np.random.default_rng(11).standard_normal(output.shape)
    dx = module.backward(r)
    by_hand = _gradients(module)
    tape_dx, taped = _on_the_tape(case, x, compute, r)

    def loss() -> float:
        with no_grad():
            return float((forward() * r).sum())

    if x.dtype.kind == "f":
        error = relative_error(dx, central_differences(loss, x, case.step))
        yield Result(case.name, "x", error, tape=relative_error(tape_dx, dx))
    for name, parameter in module.named_parameters():
        numeric = central_differences(loss, parameter.data, case.step)
        yield from _compare(case.name, module, name, by_hand[name], numeric, taped[name])


def _on_the_tape(case: ModuleCase, x: Array, compute: Callable[..., Tensor], r: Array) -> tuple[Any, dict[str, Array]]:
    """∂L/∂x and the gradients of the parameters by the tape, which the module's parameters hold afterwards."""
    case.module.zero_grad()
    case.module.set_generator(np.random.default_rng(3))
    tensor = Tensor(x, requires_grad=x.dtype.kind == "f")
    compute(tensor, **case.options).backward(r)
    return tensor.grad, _gradients(case.module)


def _gradients(module: nn.Module) -> dict[str, Array]:
    return {
        name: np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.copy()
        for name, parameter in module.named_parameters()
    }


def _compare(
    subject: str, module: nn.Module, name: str, analytic: Array, numeric: Array, taped: Array
) -> Iterator[Result]:
    """One result; for attention's fused projection one each for queries, keys and values.

    A bias on all keys adds the same q·b to every score of a row, and softmax does not change: the gradient is zero. It
    must be zero by hand and by differences. Keys that are normalised or turned do not all get the same.
    """
    owner, found, _ = name.rpartition("project_in")
    if not found:
        yield Result(subject, name, relative_error(analytic, numeric), tape=relative_error(taped, analytic))
        return
    attention = dict(module.named_modules())[owner.removesuffix(".")]
    assert isinstance(attention, nn.MultiHeadAttention)
    attend = attention.attend
    is_plain = isinstance(attend, nn.Attend) and attend.qk_norm_eps is None and attend.rope_base is None
    heads = (attention.n_head, attention.n_kv_head)
    thirds = (split_heads_of(name, gradient, *heads) for gradient in (analytic, numeric, taped))
    for (part, a), (_, n), (_, t) in zip(*thirds, strict=True):
        tape = relative_error(t, a)
        if part.endswith("bias, key") and is_plain:
            zero = np.zeros_like(a)
            error = max(relative_error(a, zero), relative_error(n, zero))
            yield Result(subject, f"{part} (is zero)", error, tape=tape)
        else:
            yield Result(subject, part, relative_error(a, n), tape=tape)


def _normalising_attention() -> nn.Module:
    """Attention whose queries and keys are first normalised, each by a norm of its own."""
    return nn.AttendBetween(nn.LayerNorm(4, dtype=np.float64), nn.LayerNorm(4, dtype=np.float64), 3)


def _relu_case(made: dict[str, Any]) -> tuple[nn.Module, Array]:
    """A relu network whose hidden values are all far from the kink."""
    module = nn.FeedForward(3, 7, activation="relu", **made)
    values = np.random.default_rng(5)
    weight, bias = (values.standard_normal(p.shape) / 2 for p in module.expand.parameters())
    return module, away_from_the_kink(values, (2, 5, 3), weight, bias)
